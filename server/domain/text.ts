/** How texts are measured (section 1): sizes are bytes of UTF-8, lengths are Unicode code points. */

/** Size of a text in bytes of UTF-8. */
export function utf8Bytes(text: string): number {
  return Buffer.byteLength(text, "utf8");
}

/** Length of a text in Unicode code points. */
export function codePoints(text: string): number {
  let count = 0;
  for (let index = 0; index < text.length; index += 1) {
    const isPair = (text.codePointAt(index) ?? 0) > 0xffff;
    index += isPair ? 1 : 0;
    count += 1;
  }
  return count;
}

/** Whether a text has more than `max` code points. Walks the text only where its length leaves a doubt. */
export function isLonger(text: string, max: number): boolean {
  return text.length > max && (text.length > max * 2 || codePoints(text) > max);
}

/** The first `max` code points of a text. */
export function cut(text: string, max: number): string {
  if (text.length <= max) {
    return text;
  }
  let end = 0;
  for (let count = 0; count < max && end < text.length; count += 1) {
    end += (text.codePointAt(end) ?? 0) > 0xffff ? 2 : 1;
  }
  return text.slice(0, end);
}
