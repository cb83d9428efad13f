/** What is typed at a terminal that must not show it. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { expect, it, vi } from 'vitest';
import { sourceOf } from '../../cli/stdin-source.ts';
import { cli } from '../helpers/cli-host.ts';

function terminal(): { readonly stream: NodeJS.ReadStream; readonly modes: boolean[]; type(text: string): void } {
  const modes: boolean[] = [];
  const keys = new PassThrough();
  const setRawMode = (mode: boolean): void => void modes.push(mode);
  const stream = Object.assign(keys, { isTTY: true, isRaw: false, setRawMode }) as unknown as NodeJS.ReadStream;
  return { stream, modes, type: (text) => void keys.write(text) };
}

it('a secret is read while the terminal shows nothing, and then it is as it was', async () => {
  const { stream, modes, type } = terminal();
  const line = sourceOf(stream).secretLine();
  // Raw before anything is typed: the terminal shows no key of its own accord.
  expect(modes).toEqual([true]);
  type('hunter3\u007f2\r');
  expect(await line).toBe('hunter2');
  expect(modes).toEqual([true, false]);
});

it('Ctrl-C ends the command, and the terminal is as it was before', async () => {
  const { stream, modes, type } = terminal();
  const told: boolean[][] = [];
  const kill = vi.spyOn(process, 'kill').mockImplementation(() => {
    told.push([...modes]);
    return true;
  });
  try {
    const line = sourceOf(stream).secretLine();
    type('hun\u0003');
    expect(await line).toBe('');
    expect([kill.mock.calls, told]).toEqual([[[process.pid, 'SIGINT']], [[true, false]]]);
  } finally {
    kill.mockRestore();
  }
});

it('secret set asks for its value so', async () => {
  const given: string[] = [];
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      given.push(body);
      response.end('{"name":"key","changed_at":"now"}');
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const where = ['--server', `http://127.0.0.1:${(server.address() as AddressInfo).port}`];
    const typed = { isTerminal: true, stdin: 'shown', typedUnseen: 'hunter2' };
    const { code, stderr } = await cli(['secret', 'set', 'key', ...where], typed);
    expect([code, stderr, given]).toEqual([0, 'value of key, then Enter; it is not shown:\n', ['{"value":"hunter2"}']]);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
