/** Versions of the wire protocol (WRK-3): `<major>.<minor>`; a server serves its own minor version and the one before. */
import { unsupportedClient } from "../domain/error.js";

export const PROTOCOL_VERSION = "0.1";

const VERSION = /^(\d{1,4})\.(\d{1,4})$/;
/** How SDKs name it in the header `hairtrigger-client`: `hairtrigger-typescript/0.1.0 protocol/0.1`. */
const IN_HEADER = /(?:^|\s)protocol\/(\S+)/;

/** @throws AppError UNSUPPORTED_CLIENT, naming both versions. */
export function requireServed(version: string, own = PROTOCOL_VERSION): void {
  const [ours, theirs] = [VERSION.exec(own), VERSION.exec(version)];
  const behind = Number(ours?.[2]) - Number(theirs?.[2]);
  const isServed = theirs !== null && theirs[1] === ours?.[1] && (behind === 0 || behind === 1);
  if (!isServed) throw unsupportedClient({ got: version, allowed: `${own} and the minor version before` });
}

/**
 * Calls without the header, or whose header names no protocol version, are served: the contract of one major version stays readable.
 * @throws AppError UNSUPPORTED_CLIENT.
 */
export function requireServedHeader(header: string | undefined): void {
  const version = header === undefined ? undefined : IN_HEADER.exec(header)?.[1];
  if (version !== undefined) requireServed(version);
}
