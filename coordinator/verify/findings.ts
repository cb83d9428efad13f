/** What a verification has found wrong, counted by code; the first of them are kept. */
import type { ErrorCode } from '../../common/core/error-codes.ts';
import { limits } from '../../common/core/limits.ts';

/** `gap` and `overlap` are of ranges that should tile; `altered`: other bytes or values than were sealed. */
export type FindingKind = 'missing' | 'altered' | 'gap' | 'overlap' | 'inconsistent' | 'incomplete' | 'unsigned';

export interface Finding {
  readonly code: ErrorCode;
  readonly kind: FindingKind;
  /** Relative to the output folder, or to the input for a code that begins with INPUT. */
  readonly path: string;
  /** Line, byte range or key within it; null for the whole of it. */
  readonly place: string | null;
  readonly message: string;
}

export class Findings {
  readonly list: Finding[] = [];
  readonly #counts = new Map<ErrorCode, number>();

  add(finding: Finding): void {
    this.#counts.set(finding.code, (this.#counts.get(finding.code) ?? 0) + 1);
    if (this.list.length < limits.verifyFindingsMax) this.list.push(finding);
  }

  get total(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  get counts(): Readonly<Partial<Record<ErrorCode, number>>> {
    return Object.fromEntries(this.#counts);
  }
}
