/** Loaded before a server (`node --import`): its machine's clock is wrong by CLOCK_AHEAD_MS milliseconds. */
const aheadMs = Number(process.env.CLOCK_AHEAD_MS ?? 0);
const Real = Date;

globalThis.Date = new Proxy(Real, {
  get: (target, key) => (key === "now" ? () => Real.now() + aheadMs : Reflect.get(target, key)),
  construct: (target, args) => Reflect.construct(target, args.length === 0 ? [Real.now() + aheadMs] : args),
});
