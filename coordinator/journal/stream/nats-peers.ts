/** Coordinators of a cluster among themselves, on a NATS subject. */
import { errors, type NatsConnection } from '@nats-io/transport-node';
import { BatchError } from '../../../common/core/batch-error.ts';
import { limits } from '../../../common/core/limits.ts';
import { reasonOf } from '../../../common/io/errno.ts';
import type { PeerBus } from '../../../common/ports/peer-bus.ts';
import { whatToAllow } from './nats-access.ts';

export function natsPeers(connection: NatsConnection, name: string): PeerBus {
  const subject = `batchmill.${name}.standby`;
  return {
    ask: async (question, waitMs) => {
      const answers: string[] = [];
      const options = { strategy: 'stall', stall: waitMs, maxWait: waitMs, maxMessages: limits.standbysMax } as const;
      // Silence of standbys is an answer only where a server has taken the question.
      let isTaken = false;
      try {
        const replies = await connection.requestMany(subject, question, options);
        void connection.flush().then(
          () => (isTaken = true),
          () => undefined,
        );
        for await (const message of replies) answers.push(message.string());
      } catch (error) {
        // Nobody listens: there is no standby.
        if (error instanceof errors.NoRespondersError) return [];
        throw notAsked(subject, error);
      }
      if (!isTaken) throw notAsked(subject, `no server took it within ${waitMs} ms`);
      return answers.filter((text) => text !== '');
    },
    answer: (reply) => {
      const subscription = connection.subscribe(subject, {
        callback: (error, message) => {
          if (error) return;
          // What it cannot answer is as if it were away.
          void reply(message.string()).then(
            (text) => text !== null && message.respond(text),
            () => undefined,
          );
        },
      });
      return () => subscription.unsubscribe();
    },
  };
}

function notAsked(subject: string, error: unknown): BatchError {
  if (error instanceof errors.PermissionViolationError) {
    const message = `coordinators that stand by cannot be asked: ${whatToAllow(error)}`;
    return new BatchError('JOURNAL_STREAM_UNFIT', message, { cause: error });
  }
  const why = typeof error === 'string' ? error : reasonOf(error);
  const message = `coordinators that stand by could not be asked on ${subject} of NATS: ${why}`;
  return new BatchError('JOURNAL_STREAM_UNREACHABLE', message, { cause: error });
}
