/** Coordinators of a cluster among themselves, on a NATS subject. */
import type { NatsConnection } from '@nats-io/transport-node';
import { limits } from '../../../common/core/limits.ts';
import type { PeerBus } from '../../../common/ports/peer-bus.ts';

export function natsPeers(connection: NatsConnection, name: string): PeerBus {
  const subject = `batchmill.${name}.standby`;
  return {
    ask: async (question, waitMs) => {
      const answers: string[] = [];
      const options = { strategy: 'stall', stall: waitMs, maxWait: waitMs, maxMessages: limits.standbysMax } as const;
      try {
        for await (const message of await connection.requestMany(subject, question, options)) {
          answers.push(message.string());
        }
      } catch (error) {
        // Nobody listens: there is no standby.
        if (!(error instanceof Error) || error.name !== 'NoRespondersError') throw error;
      }
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
