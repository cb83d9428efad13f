/**
 * A job's events as server-sent events. Each has its sequence as id, so that a client that lost the connection goes on
 * where it was; `end` says that no more will come.
 * @source HTML Living Standard, server-sent events
 */
import type { JobEvent } from './backend.ts';

export interface EventStreamOptions {
  readonly events: AsyncIterable<JobEvent>;
  /** Aborted when the client has gone. */
  readonly signal: AbortSignal;
  readonly keepAliveMs: number;
  /** Before each piece: throws when the client may see no more. */
  readonly check: () => void;
  /** Text of the `error` event that ends a stream whose source has failed. */
  readonly describe: (error: unknown) => string;
}

/** Pieces of text that never cut an event in two. */
export async function* eventStream(options: EventStreamOptions): AsyncGenerator<string, void, undefined> {
  const iterator = options.events[Symbol.asyncIterator]();
  try {
    // Something at once, so that headers go out and the client knows that it is connected.
    yield 'retry: 1000\n\n';
    let next = iterator.next();
    for (;;) {
      const outcome = await orSilence(next, options);
      if (outcome === 'gone') return;
      options.check();
      if (outcome === 'silence') {
        yield ': alive\n\n';
        continue;
      }
      if (outcome.done === true) break;
      yield formatEvent(outcome.value);
      next = iterator.next();
    }
    yield 'event: end\ndata: {}\n\n';
  } catch (error) {
    yield `event: error\ndata: ${options.describe(error)}\n\n`;
  } finally {
    await iterator.return?.();
  }
}

/** JSON holds no line breaks, so one `data` line is enough. */
function formatEvent(event: JobEvent): string {
  return `id: ${event.sequence}\nevent: ${event.kind}\ndata: ${JSON.stringify(event)}\n\n`;
}

type Outcome = IteratorResult<JobEvent> | 'silence' | 'gone';

function orSilence(next: Promise<IteratorResult<JobEvent>>, options: EventStreamOptions): Promise<Outcome> {
  return new Promise<Outcome>((resolve, reject) => {
    const timer = setTimeout(() => settle(() => resolve('silence')), options.keepAliveMs);
    const onAbort = (): void => settle(() => resolve('gone'));
    const settle = (done: () => void): void => {
      clearTimeout(timer);
      options.signal.removeEventListener('abort', onAbort);
      done();
    };
    if (options.signal.aborted) return onAbort();
    options.signal.addEventListener('abort', onAbort, { once: true });
    next.then(
      (value) => settle(() => resolve(value)),
      (error: unknown) => settle(() => reject(error as Error)),
    );
  });
}
