/** The parts of an app on a database that several servers share. Loaded only then: MongoDB and Agenda cost others neither time nor memory. */
import { createAgendaDriver } from "../scheduler/agenda.js";
import type { Parts } from "./app.js";
import { type Clock, systemClock } from "./engine/clock.js";
import type { Entropy } from "./engine/entropy.js";
import type { EventSink } from "./engine/events.js";
import { createGridfsPayloads } from "./payloads/gridfs.js";
import { localSignals } from "./signals/local.js";
import { peerAddressOf } from "./signals/peer-address.js";
import { PeerSignals } from "./signals/peers.js";
import { createMongoStore } from "./store/mongo/mongo-store.js";

const SERVER_ID_BYTES = 12;

export interface MongoParams {
  readonly url: string;
  readonly entropy: Entropy;
  /** Default: the database's. */
  readonly clock: Clock | undefined;
  readonly peerAddress: string | undefined;
  readonly areHintsEnabled: boolean;
  readonly areDutiesShared: boolean;
  readonly isTls: boolean;
  readonly events: EventSink;
  /** Told every 10 s while the database cannot be reached. */
  readonly onWaiting: (message: string) => void;
  /** Given what ends a part, before the part begins. */
  readonly onStop: (stop: () => Promise<void>) => void;
}

/** Waits for the database as long as that takes. @throws AppError STORE_UNAVAILABLE when it is stopped meanwhile. */
export async function openOnMongo(params: MongoParams): Promise<Parts> {
  const { url, entropy, events, onStop, areHintsEnabled } = params;
  const machine = systemClock();
  const store = createMongoStore({ url, clock: machine, entropy, log: params.onWaiting });
  onStop(() => store.stop());
  await store.start();
  const clock = params.clock ?? {
    nowMs: () => store.databaseMs(),
    setTimer: (delayMs: number, callback: () => void) => machine.setTimer(delayMs, callback),
  };
  const serverId = `server_${Buffer.from(entropy.bytes(SERVER_ID_BYTES)).toString("hex")}`;
  const onError = (error: unknown): void => events.emit("store.unavailable", { error });

  const local = localSignals();
  const peers = areHintsEnabled
    ? new PeerSignals({
        local,
        directory: store.shared,
        clock,
        serverId,
        secret: await store.readSecret(),
        onError,
      })
    : undefined;
  if (peers !== undefined) onStop(() => peers.stop());
  return {
    store,
    clock,
    signals: peers ?? local,
    gridfs: () => createGridfsPayloads(store.database),
    hints: peers,
    createDriver: params.areDutiesShared
      ? (rows) => createAgendaDriver({ db: store.database, clock, serverName: serverId, rows, onError })
      : undefined,
    join: async (listening) => peers?.start(params.peerAddress ?? peerAddressOf(listening, params.isTls)),
  };
}
