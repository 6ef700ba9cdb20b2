/** Tags of a run (section 17): case-sensitive, any character, unique, in the order first set. */
import { shown, type Violation } from "./error.js";
import type { Limits } from "./limits.js";
import { isLonger } from "./text.js";

/** Without blank ones and repetitions, in the order first set (TAG-1, TAG-4). */
export function normaliseTags(tags: readonly string[]): readonly string[] {
  return [...new Set(tags.filter((tag) => tag.trim() !== ""))];
}

export interface CheckedTags {
  readonly tags: readonly string[];
  /** Too many, and each that is too long. */
  readonly violations: readonly Violation[];
}

/**
 * Tags as they are kept, with everything that is wrong with them (TAG-1).
 * @param field path of the list, such as `options.tags`.
 */
export function checkTags(
  field: string,
  given: readonly string[],
  limits: Pick<Limits, "tagsMax" | "tagLengthMax">,
): CheckedTags {
  const { tagsMax, tagLengthMax } = limits;
  const tags = normaliseTags(given);
  const violations: Violation[] = [];
  if (tags.length > tagsMax) {
    violations.push({
      field,
      reason: "TOO_MANY_TAGS",
      message: `Runs can only have ${tagsMax} tags, you're trying to set ${tags.length}.`,
      metadata: { got: String(tags.length), allowed: String(tagsMax) },
    });
  }
  for (const tag of tags.filter((candidate) => isLonger(candidate, tagLengthMax))) {
    violations.push({
      field,
      reason: "INVALID_TAG",
      message: `Tags must be less than ${tagLengthMax} characters, got ${shown(tag)}`,
      metadata: { got: shown(tag), allowed: `1 to ${tagLengthMax} characters` },
    });
  }
  return { tags, violations };
}
