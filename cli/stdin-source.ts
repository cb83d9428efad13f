/** Standard input, as commands read it. */
import { createInterface, type Interface } from 'node:readline';
import { Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { Source } from './command-context.ts';

export function sourceOf(stream: NodeJS.ReadStream): Source {
  return {
    isTerminal: stream.isTTY,
    line: async () => await firstLine(createInterface({ input: stream })),
    secretLine: async () => await firstLine(hidden(stream)),
    all: async () => await text(stream),
  };
}

async function firstLine(lines: Interface): Promise<string> {
  const first = await lines[Symbol.asyncIterator]().next();
  lines.close();
  return first.done === true ? '' : first.value;
}

/** What is typed is edited here, as the terminal does no more, and shown nowhere. */
function hidden(stream: NodeJS.ReadStream): Interface {
  const output = new Writable({ write: (_text, _encoding, done) => done() });
  const lines = createInterface({ input: stream, output, terminal: true, historySize: 0 });
  // Neither does the terminal turn Ctrl-C into a signal; it is itself again by the time of that.
  lines.once('SIGINT', () => {
    lines.close();
    process.kill(process.pid, 'SIGINT');
  });
  return lines;
}
