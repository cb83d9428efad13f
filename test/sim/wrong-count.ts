/**
 * What a node with a broken release says of its results: numbers that do not fit the mini-batch or the bytes. Each is what
 * the wire can carry, and what the coordinator refuses.
 */
import type { ResultReport } from '../../common/core/cluster-messages.ts';
import type { ResultSummary } from '../../common/core/result.ts';
import type { Random } from './world.ts';

/** `report` with one thing wrong. */
export function wronged(report: ResultReport, random: Random): ResultReport {
  return random.pick([...countDefects, ...byteDefects, ...(report.isUploaded ? [] : [unsent])])(report);
}

type Defect = (report: ResultReport) => ResultReport;

function withSummary(change: (summary: ResultSummary) => Partial<ResultSummary>): Defect {
  return (report) => ({ ...report, summary: { ...report.summary, ...change(report.summary) } });
}

const countDefects: readonly Defect[] = [
  withSummary(({ fileRows }) => ({ fileRows: [...(fileRows ?? []), 1] })),
  withSummary(({ fileRows }) => ({ fileRows: (fileRows ?? [0]).slice(1) })),
  withSummary(({ fileRows }) => ({
    failed: [{ index: fileRows?.length ?? 1, code: 'INPUT_DECODE_FAILED', message: '' }],
  })),
  withSummary(() => ({
    failed: [0, 0].map((index) => ({ index, code: 'INPUT_DECODE_FAILED' as const, message: 'twice' })),
  })),
];

const byteDefects: readonly Defect[] = [
  (report) => ({ ...report, crc32: (report.crc32 ^ 1) >>> 0 }),
  (report) => ({
    ...report,
    customCrc32: (report.customCrc32 ^ 0x8000_0000) >>> 0,
    customBytes: report.customBytes + 1,
  }),
  (report) => ({ ...report, bytes: report.bytes + 1 }),
  (report) => ({ ...report, bytes: report.bytes - 1 }),
];

/** Said to be uploaded, and is not. */
const unsent: Defect = (report) => ({ ...report, isUploaded: true });
