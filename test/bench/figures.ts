/** Figures of a bench: medians over rounds, with the spread beside them, since these machines are noisy. */
export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly values: readonly number[];
}

export function quantile(values: readonly number[], at: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * at))] ?? Number.NaN;
}

export function printFigures(figures: readonly Figure[]): void {
  const width = Math.max(...figures.map(({ name }) => name.length));
  for (const { name, unit, values } of figures) {
    const [min, median, max] = [0, 0.5, 1].map((at) => shown(quantile(values, at)));
    const spread = values.length > 1 ? `  (${min} … ${max}, ${values.length} rounds)` : "";
    console.log(`${name.padEnd(width)}  ${String(median).padStart(10)} ${unit}${spread}`);
  }
}

function shown(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString("en-US") : value.toFixed(2);
}

/** Calls `work(0 … count − 1)` from `callers` concurrent callers. @returns calls per second. */
export async function perSecond(
  count: number,
  callers: number,
  work: (index: number) => Promise<unknown>,
): Promise<number> {
  let next = 0;
  const startedAt = performance.now();
  await Promise.all(
    Array.from({ length: callers }, async () => {
      while (next < count) await work(next++);
    }),
  );
  return count / ((performance.now() - startedAt) / 1_000);
}
