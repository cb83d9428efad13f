import { expect, it } from 'vitest';
import { readInput, type InputSource } from '../../coordinator/service/read-input.ts';
import { failing } from '../helpers/failing.ts';

const source: InputSource = {
  inputRoot: '/in',
  catalog: {
    count: 1,
    files: () => Promise.resolve([{ path: 'a', sizeBytes: 1, identity: '1-1' }]),
  },
};

async function read(ordinal: number, identity: string): Promise<string> {
  const open = async function* (root: string, { path }: { readonly path: string }): AsyncGenerator<Uint8Array> {
    yield await Promise.resolve(Buffer.from(`${root}/${path}`));
  };
  let text = '';
  for await (const piece of readInput(source, ordinal, identity, { offset: 0, end: null }, open))
    text += Buffer.from(piece).toString();
  return text;
}

it('gives a file that is listed, and no other that stands in its place', async () => {
  expect(await read(0, '1-1')).toBe('/in/a');
  await expect(read(0, '1-2')).rejects.toEqual(failing('REQUEST_INVALID', 'file 0 is 1-1, not 1-2'));
});

it('asks for patience where a file is not listed again yet', async () => {
  await expect(read(1, '1-1')).rejects.toEqual(
    failing('COORDINATOR_UNREACHABLE', 'file 1 was asked for and 1 are listed'),
  );
});
