/** What the registry says of worker nodes, and what their labels come to. */
import type { NodeLabels } from '../../common/core/cluster-messages.ts';
import type { NodeName } from '../../common/core/ids.ts';
import type { Ledger } from './ledger.ts';
import { nodeKey, type NodeResource } from './resources.ts';

/** Undefined: nobody has said anything of it. */
export function noteOf({ registry }: Ledger, node: NodeName): NodeResource | undefined {
  return registry.get(nodeKey(node))?.resource as NodeResource | undefined;
}

/** `changed`: null takes a label away. */
export function labelsWith(own: NodeLabels, changed: NodeResource['labels']): NodeLabels {
  const labels: Record<string, string> = { ...own };
  for (const [key, value] of Object.entries(changed)) {
    if (value === null) delete labels[key];
    else labels[key] = value;
  }
  return labels;
}
