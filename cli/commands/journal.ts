/** `journal verify`, `repair` and `export`: the journal of a coordinator that does not run. */
import { inspectJournal, type JournalReport } from '../../coordinator/journal/inspect.ts';
import { withJournal } from '../../coordinator/journal/offline.ts';
import { planRepair, repair, type RepairPlan } from '../../coordinator/journal/repair.ts';
import { errorRule } from '../../common/core/error-codes.ts';
import type { CommandContext } from '../command-context.ts';
import type { Column } from '../table.ts';

export interface RepairFlags {
  readonly yes?: boolean;
}

interface VerifyAnswer extends Omit<JournalReport, 'segments'> {
  readonly segments: readonly { readonly name: string; readonly bytes: number; readonly records: number }[];
  /** Whether a coordinator starts on it, and with which snapshot. */
  readonly starts: boolean;
}

const damageText = ({ damage }: Pick<JournalReport, 'damage'>): string | null =>
  damage && `${damage.segment}, byte ${damage.byte_offset}, from record ${damage.record} on: ${damage.what}`;

const verifySheet: readonly Column<VerifyAnswer>[] = [
  { title: 'segments', value: ({ segments }) => segments.map((one) => `${one.name} (${one.records})`).join(', ') },
  {
    title: 'snapshots',
    value: ({ snapshots }) => snapshots.map((one) => `${one.name}${one.is_whole ? '' : ' (damaged)'}`).join(', '),
  },
  { title: 'records', value: ({ records }) => records },
  { title: 'epochs', value: ({ epochs }) => epochs.join(' to ') },
  { title: 'jobs', value: ({ jobs }) => jobs.join(', ') },
  { title: 'damage', value: damageText },
  { title: 'starts', value: ({ starts }) => (starts ? 'yes' : 'no') },
];

const repairSheet: readonly Column<RepairPlan>[] = [
  { title: 'damage', value: damageText },
  { title: 'kept up to record', value: ({ kept_record }) => kept_record },
  { title: 'lost records', value: ({ lost }) => lost.records },
  { title: 'lost jobs', value: ({ lost_jobs }) => lost_jobs.join(', ') },
  { title: 'cut', value: ({ cut }) => cut && `${cut.segment} at byte ${cut.byte_offset}` },
  { title: 'put aside', value: ({ aside }) => aside.map(({ from, to }) => `${from} as ${to}`).join(', ') },
];

/** @returns the exit code: that of JOURNAL_CORRUPT when anything is damaged */
export async function verifyJournalCommand({ output }: CommandContext, stateDir: string): Promise<number> {
  return await withJournal(stateDir, async (place) => {
    const report = await inspectJournal(place);
    const plan = await planRepair(place);
    const segments = report.segments.map(({ name, bytes, records, first_record, torn_bytes }) => ({
      ...{ name, bytes, first_record, records, torn_bytes },
    }));
    output.item({ ...report, segments, starts: plan.damage === null }, verifySheet);
    const torn = report.segments.at(-1)?.torn_bytes ?? 0;
    if (torn > 0) output.note(`${torn} bytes of a write that was cut short are at the end; a start drops them`);
    if (plan.damage) output.note(`next        batchmill journal repair ${stateDir}`);
    else if (report.damage) output.note('a start does not need what is damaged: a snapshot holds it');
    const isSound = report.damage === null && report.snapshots.every(({ is_whole }) => is_whole);
    return isSound ? 0 : errorRule('JOURNAL_CORRUPT').exit;
  });
}

/** Says what would be lost; does it with --yes. @returns the exit code */
export async function repairJournalCommand(
  { output }: CommandContext,
  stateDir: string,
  flags: RepairFlags,
): Promise<number> {
  return await withJournal(stateDir, async (place) => {
    const plan = await planRepair(place);
    if (plan.damage === null) {
      output.note('there is nothing to repair: a coordinator starts on this journal');
      output.item(plan, repairSheet);
      return 0;
    }
    if (flags.yes) await repair(place, plan);
    output.item(plan, repairSheet);
    if (flags.yes) output.note('done; mini-batches whose commit is lost are scored again by the next start');
    else output.note('nothing was changed; --yes does it');
    return flags.yes ? 0 : errorRule('JOURNAL_CORRUPT').exit;
  });
}

/** Each record as a line of JSON, up to the first damage. @returns the exit code */
export async function exportJournalCommand({ output }: CommandContext, stateDir: string): Promise<number> {
  return await withJournal(stateDir, async (place) => {
    const report = await inspectJournal(place, (record, sequence, epoch, isBehindDamage) => {
      if (!isBehindDamage) output.text(`${JSON.stringify({ sequence, epoch, record })}\n`);
    });
    const found = damageText(report);
    if (found !== null) output.note(`damaged     ${found}`);
    return found === null ? 0 : errorRule('JOURNAL_CORRUPT').exit;
  });
}
