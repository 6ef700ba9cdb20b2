/** Turns of the event loop, in which messages cross loopback sockets: the only real time that a test kit knows. */

/** The time of the machine, for a kit that begins now and for giving up. */
export function realNowMs(): number {
  return Date.now();
}

export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** A moment for what only time brings: the code of a task that waits for something outside. */
export function moment(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1));
}
