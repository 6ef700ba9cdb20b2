/** Pages of lists that are small enough to be read whole. */
import { invalidPage } from "../domain/error.js";
import type { Limits } from "../domain/limits.js";
import type { PageTokens } from "./page-token.js";

interface PageParams<T> {
  readonly all: readonly T[];
  readonly idOf: (item: T) => string;
  readonly request: { readonly pageSize?: number; readonly pageToken: string };
  readonly list: { readonly environment: string; readonly method: string };
  readonly pageTokens: PageTokens;
  readonly limits: Limits;
}

/** A page of a list that is small enough to be read whole. A token names the item that its page begins with. */
export function pageOf<T>({ all, idOf, request, list, pageTokens, limits }: PageParams<T>): {
  readonly items: readonly T[];
  readonly nextPageToken: string;
  readonly previousPageToken: string;
} {
  const size = request.pageSize ?? limits.pageSizeDefault;
  if (size < 1 || size > limits.pageSizeMax) {
    const allowed = `1 to ${limits.pageSizeMax}`;
    throw invalidPage("pageSize", `Page size must be ${allowed}, got ${size}`, { got: String(size), allowed });
  }
  const first = request.pageToken === "" ? undefined : firstOf(pageTokens.open(list, request.pageToken));
  // An item that has gone since: the list begins again.
  const from =
    first === undefined
      ? 0
      : Math.max(
          0,
          all.findIndex((item) => idOf(item) === first),
        );
  const tokenAt = (index: number): string => {
    const item = all[index];
    return item === undefined ? "" : pageTokens.sign(list, { first: idOf(item) });
  };
  return {
    items: all.slice(from, from + size),
    nextPageToken: tokenAt(from + size),
    previousPageToken: from === 0 ? "" : tokenAt(Math.max(0, from - size)),
  };
}

function firstOf(place: unknown): unknown {
  return typeof place === "object" && place !== null && "first" in place ? place.first : undefined;
}
