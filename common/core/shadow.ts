/**
 * A second deployment that scores the same files beside a job's own, so that people see what it would have said: what a job
 * says of it, and what a worker node finds when it lays the two results of a mini-batch beside each other.
 */
import type { Deployment } from './deployment.ts';
import type { ErrorCode } from './error-codes.ts';

/** Of a job. */
export interface JobShadow {
  readonly deployment: Deployment;
  /** Under the endpoint that was invoked. */
  readonly revision: number;
  /** Numbers that are so close are the same: absolutely, or as a part of the larger one. 0: texts must be equal. */
  readonly tolerance: number;
}

/** What is counted when two results are compared, in the order in which tables keep it. */
export const shadowCountNames = [
  'rowsSame',
  'rowsDifferent',
  /** Scored by both, and every row the same. */
  'filesSame',
  'filesDifferent',
  /** Scored by both, with different numbers of rows. */
  'filesOtherRows',
  'filesFailedDefault',
  'filesFailedShadow',
  'filesFailedBoth',
] as const;

export type ShadowCounts = Readonly<Record<(typeof shadowCountNames)[number], number>>;

export const noShadowCounts: ShadowCounts = {
  rowsSame: 0,
  rowsDifferent: 0,
  filesSame: 0,
  filesDifferent: 0,
  filesOtherRows: 0,
  filesFailedDefault: 0,
  filesFailedShadow: 0,
  filesFailedBoth: 0,
};

/** Names of the columns of both, in order. */
export interface OtherColumns {
  readonly default: readonly string[];
  readonly shadow: readonly string[];
}

/** What came of the shadow for one mini-batch. */
export interface ShadowOutcome {
  /** Of the files that both were given; all 0 when the shadow has no result. */
  readonly counts: ShadowCounts;
  /** Why there is nothing to compare; null: both have a result. */
  readonly failure: { readonly code: ErrorCode; readonly message: string } | null;
  /** Seconds inside run(); of a shadow without a result, until that was known. */
  readonly runSeconds: number;
  /** Null: the columns of both have the same names, or one of them has none. Without names: as was told of another mini-batch. */
  readonly columns: OtherColumns | null;
}

/** The file of an output that has every row which differs, one JSON object a line. */
export const differencesName = '_differences.jsonl';
