/** Which of the runs that were found are to be claimed: the best ones that have room. */
import type { HeadDoc } from "../heads.js";
import type { RunDoc } from "../run-doc.js";

/** A run that may be picked: read whole, or known by its position behind a head. */
export interface Candidate {
  readonly id: string;
  readonly pos: string;
  readonly doc: RunDoc | undefined;
  readonly head: HeadDoc | undefined;
}

export function pick(
  candidates: readonly Candidate[],
  {
    places,
    horizon,
    rooms,
  }: { readonly places: number; readonly horizon: string | undefined; readonly rooms: ReadonlyMap<string, number> },
): readonly Candidate[] {
  const left = new Map(rooms);
  const picked: Candidate[] = [];
  for (const candidate of candidates) {
    if (picked.length >= places || (horizon !== undefined && candidate.pos > horizon)) break;
    const partition = candidate.head?.partition;
    const room = partition === undefined ? undefined : left.get(partition);
    if (room !== undefined && room <= 0) continue;
    if (partition !== undefined && room !== undefined) left.set(partition, room - 1);
    picked.push(candidate);
  }
  return picked;
}

export function least(a: string | undefined, b: string | undefined): string | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return a < b ? a : b;
}
