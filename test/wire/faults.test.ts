/**
 * What must hold when processes die, servers go away and disks fill up: with real processes, real signals and real disks. Heavy promises run
 * one after the other, since two cores are all there is; those that mostly wait run together.
 */
import { registerDelays } from "./faults/delays.js";
import { registerDisks } from "./faults/disks.js";
import { registerLimits } from "./faults/limits.js";
import { registerMetadata } from "./faults/metadata.js";
import { registerOutages } from "./faults/outages.js";
import { registerTriggers } from "./faults/triggers.js";
import { registerWorkers } from "./faults/workers.js";

registerTriggers();
registerLimits();
registerMetadata();
registerDisks();
registerWorkers();
registerOutages();
registerDelays();
