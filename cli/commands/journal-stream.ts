/** `journal verify nats://…`: the copy of a journal on NATS, also while coordinators use it. */
import { parseJournalLocation } from '../../common/config/journal-location.ts';
import { natsSettings } from '../../common/config/nats-settings.ts';
import { errorRule } from '../../common/core/error-codes.ts';
import { NatsStream } from '../../coordinator/journal/stream/nats-stream.ts';
import { verifyStream, type StreamReport } from '../../coordinator/journal/stream/verify-stream.ts';
import type { CommandContext } from '../command-context.ts';
import type { Column } from '../table.ts';

const sheet: readonly Column<StreamReport>[] = [
  { title: 'messages', value: ({ messages: { first, last } }) => (last < first ? 'none' : `${first} to ${last}`) },
  {
    title: 'snapshots',
    value: ({ snapshots }) => snapshots.map((one) => `${one.name}${one.is_whole ? '' : ' (damaged)'}`).join(', '),
  },
  { title: 'records', value: ({ records }) => records },
  { title: 'last record', value: ({ last_record }) => last_record },
  { title: 'epoch', value: ({ epoch }) => epoch },
  { title: 'damage', value: ({ damage }) => damage },
];

/** @returns the exit code: that of JOURNAL_STREAM_LOST when anything is damaged */
export async function verifyStreamCommand({ host, output }: CommandContext, location: string): Promise<number> {
  const nats = natsSettings(host.environment, true);
  const stream = await NatsStream.open({ ...parseJournalLocation(location, '<dir>'), nats, isToBeThere: true });
  try {
    const report = await verifyStream(stream);
    output.item(report, sheet);
    const isSound = report.damage === null && report.snapshots.every(({ is_whole }) => is_whole);
    return isSound ? 0 : errorRule('JOURNAL_STREAM_LOST').exit;
  } finally {
    await stream.close();
  }
}
