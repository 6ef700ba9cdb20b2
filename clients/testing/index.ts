/** `@hairtrigger/testing`: runs tasks in a unit test, in process, on the real engine with a clock that the test moves. */
export type { TestClock } from "./test-clock.js";
export { type ResultOptions, startTestKit, type TestKit, type TestKitOptions } from "./test-kit.js";
