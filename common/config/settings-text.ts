/** Settings as people write them in a YAML. */
import type { MiniBatchSize, SplitFiles } from '../core/deployment.ts';
import { unreachable } from '../core/invariant.ts';

/** `20`, `64000000B`, `30s` or `auto` */
export function sizeText(size: MiniBatchSize): number | string {
  switch (size.kind) {
    case 'files':
      return size.files;
    case 'bytes':
      return `${size.bytes}B`;
    case 'seconds':
      return `${size.seconds}s`;
    case 'auto':
      return 'auto';
    default:
      return unreachable(size);
  }
}

/** `auto`, `off` or `16000000B` */
export function splitText(split: SplitFiles): string {
  return split.kind === 'bytes' ? `${split.bytes}B` : split.kind;
}
