/**
 * `grpc-message` as the gRPC protocol wants it: UTF-8 in which only bytes outside 0x20–0x7E and `%` are percent-encoded. The framework
 * uses encodeURIComponent, whose escaped spaces and quotes other clients show as they are.
 */
export function encodeGrpcMessage(message: string): string {
  let encoded = "";
  for (const byte of Buffer.from(message, "utf8")) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += isPlain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}
