/** `coordinator start --standby`: one of several coordinators, which serves while it leads and stands by otherwise. */
import type { CoordinatorSettings } from '../../common/config/process-settings.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import type { ErrorCode } from '../../common/core/error-codes.ts';
import { limits } from '../../common/core/limits.ts';
import { nameOf, type LeaderCard } from '../../coordinator/standby/leadership.ts';
import { interruptible, type CommandContext } from '../command-context.ts';
import { serve } from './start.ts';

/** What passes: another one leads, or nobody knows who does. */
const standsByAfter: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'JOURNAL_FENCED',
  'NOT_LEADING',
  'JOURNAL_STREAM_UNREACHABLE',
]);

/** Ends at an interrupt, or for a reason that waiting does not mend. @returns the exit code */
export async function standByCommand(context: CommandContext, settings: CoordinatorSettings): Promise<number> {
  const { host, output } = context;
  for (let said: string | null = null; ;) {
    const interrupt = interruptible(host, () => output.note('stopping'));
    const { signal } = interrupt;
    const onWaiting = (leader: LeaderCard | null): void => {
      output.note(leader ? `standing by for ${nameOf(leader)}` : 'standing by; nobody leads yet');
    };
    try {
      const coordinator = await host.processes.startCoordinator(settings, { signal, onWaiting });
      interrupt.dispose();
      said = null;
      return await serve(context, settings, coordinator);
    } catch (error) {
      if (signal.aborted) return 0;
      if (!(error instanceof BatchError) || !standsByAfter.has(error.code)) throw error;
      // A server that is away for long is told once.
      if (error.message !== said) output.note(`${error.code}: ${error.message}`);
      said = error.message;
      await host.delay(limits.leaderTryMs, signal);
      if (signal.aborted) return 0;
    } finally {
      interrupt.dispose();
    }
  }
}
