/**
 * Scopes of public tokens (AUT-2): `<action>:<resource>` for all of a resource, `<action>:<resource>:<id>` for one. Ids may hold colons
 * (tags do), so only the first two separate.
 */

/** THE SCOPES: which resources an action knows. `tasks`, `tags` and `batch` mean the runs of that task, tag or batch. */
const RESOURCES = {
  read: ["runs", "tasks", "tags", "batch"],
  write: ["runs", "waitpoints"],
  trigger: ["tasks"],
  batchTrigger: ["tasks"],
} as const satisfies Readonly<Record<string, readonly string[]>>;

export type ScopeAction = keyof typeof RESOURCES;
export type ScopeResource = (typeof RESOURCES)[ScopeAction][number];

export interface Scope {
  readonly action: ScopeAction;
  readonly resource: ScopeResource;
  /** Undefined: every one. */
  readonly id: string | undefined;
}

/** The scope that a text names, or undefined: an unknown scope grants nothing (a newer SDK may have made it). */
export function parseScope(text: string): Scope | undefined {
  const [action = "", resource = "", ...rest] = text.split(":");
  if (!isAction(action)) return undefined;
  const known: ScopeResource | undefined = RESOURCES[action].find((name) => name === resource);
  if (known === undefined) return undefined;
  const id = rest.length === 0 ? undefined : rest.join(":");
  return id === "" ? undefined : { action, resource: known, id };
}

function isAction(text: string): text is ScopeAction {
  return Object.hasOwn(RESOURCES, text);
}

/** A scope as tokens carry it; the opposite of {@link parseScope}. */
export function scopeText(scope: Scope): string {
  return scope.id === undefined ? `${scope.action}:${scope.resource}` : `${scope.action}:${scope.resource}:${scope.id}`;
}

/** Whether one of the scopes allows the action on this object; without `id`: on all objects of the resource. */
export function isGranted(
  scopes: readonly Scope[],
  wanted: { readonly action: ScopeAction; readonly resource: ScopeResource; readonly id?: string },
): boolean {
  return scopes.some(
    ({ action, resource, id }) =>
      action === wanted.action && resource === wanted.resource && (id === undefined || id === wanted.id),
  );
}
