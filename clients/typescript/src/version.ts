/** Versions that this package tells servers (WRK-3). */

/** Version of the package; a test holds it equal to `package.json`. */
export const SDK_VERSION = "0.1.0";

/** Version of the wire contract, `<major>.<minor>`. */
export const PROTOCOL_VERSION = "0.1";
