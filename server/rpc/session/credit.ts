/**
 * Free places of a worker. Its credit is an absolute number, said when it had processed some message of ours; what was assigned in later
 * messages, or is about to be, is not in it yet.
 */
export interface CreditBook {
  /** `count` runs were put into the message that comes next. */
  sent(sequence: number, count: number): void;
  /** What the worker has now. @param unsent runs that are assigned and in no message yet. */
  places(freePlaces: number, receivedSequence: number, unsent: number): number;
}

export function createCreditBook(): CreditBook {
  const assigned = new Map<number, number>();
  return {
    sent(sequence, count) {
      if (count > 0) assigned.set(sequence, count);
    },
    places(freePlaces, receivedSequence, unsent) {
      let later = unsent;
      for (const [sequence, count] of assigned) {
        if (sequence <= receivedSequence) assigned.delete(sequence);
        else later += count;
      }
      return Math.max(0, freePlaces - later);
    },
  };
}
