/** `npm run rules`: the rules of docs/behaviour.md that no test title names. A list to work from, never a failure. */
import { namedRules, readRules } from "./rule-ids.js";

const TEXT_LENGTH_MAX = 100;

const rules = readRules();
const named = namedRules();
const unnamed = rules.filter(({ id }) => !named.has(id));
for (const { id, text } of unnamed) {
  const isLong = text.length > TEXT_LENGTH_MAX;
  console.log(`${id.padEnd(8)} ${isLong ? `${text.slice(0, TEXT_LENGTH_MAX)}…` : text}`);
}
console.log(
  `\n${rules.length - unnamed.length} of ${rules.length} rules are named by a test; ${unnamed.length} are not.`,
);
