import type { DescMethod } from "@bufbuild/protobuf";

/** `/hairtrigger.v1.RunService/TriggerTask`: the path of a method, the same in all protocols. */
export function methodPath(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}
