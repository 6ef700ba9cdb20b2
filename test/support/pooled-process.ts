/** A task process without tasks: `ready` says that it is, `silent` never does, `stubborn` is ready and stays when its channel ends. */
const [, , mode] = process.argv;

// Not of this protocol: user code may use the channel, too.
process.send?.({ kind: "outcome" });
process.send?.("text");
if (mode !== "silent") process.send?.({ hairtrigger: { kind: "ready" } });
setInterval(() => undefined, 60_000);
if (mode !== "stubborn") process.on("disconnect", () => process.exit(0));
