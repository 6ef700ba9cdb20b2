/**
 * What must hold of several server processes on one database when the database, a server or a machine fails: with real processes and real
 * signals, at a fifth of the real times. All of it wants a MongoDB-protocol server at MONGODB_URI.
 */
import { registerFlood } from "./cluster/flood.js";
import { registerMachines } from "./cluster/machines.js";
import { registerOutages } from "./cluster/outages.js";

registerOutages();
registerMachines();
registerFlood();
