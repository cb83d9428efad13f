/** Files of which the system takes, or gives, less than it was asked for. */
import type { FileHandle } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { readFully } from '../../common/io/read-fully.ts';
import { writeAll } from '../../common/io/write-all.ts';

interface Written {
  readonly text: string;
  readonly position: number | null;
}

/** Takes so many bytes of each write in turn, then says what a full disk says. */
function taking(...counts: readonly number[]): { readonly file: FileHandle; readonly writes: Written[] } {
  const writes: Written[] = [];
  const left = [...counts];
  const write = (bytes: Uint8Array, offset: number, length: number, position: number | null) => {
    const count = left.shift();
    if (count === undefined) return Promise.reject(Object.assign(new Error('no space left'), { code: 'ENOSPC' }));
    const bytesWritten = Math.min(count, length);
    writes.push({ text: Buffer.from(bytes).toString('utf8', offset, offset + bytesWritten), position });
    return Promise.resolve({ bytesWritten, buffer: bytes });
  };
  return { file: { write } as unknown as FileHandle, writes };
}

test('what is written in parts is written whole, at its place or where the file stands', async () => {
  const placed = taking(3, 1, 9);
  await writeAll(placed.file, Buffer.from('abcdefg'), 100);
  expect(placed.writes).toEqual([
    { text: 'abc', position: 100 },
    { text: 'd', position: 103 },
    { text: 'efg', position: 104 },
  ]);
  const streamed = taking(3, 9);
  await writeAll(streamed.file, Buffer.from('abcdefg'), null);
  expect(streamed.writes).toEqual([
    { text: 'abc', position: null },
    { text: 'defg', position: null },
  ]);
  const none = taking();
  await writeAll(none.file, Buffer.alloc(0), null);
  expect(none.writes).toEqual([]);
});

test('a disk that is full, or takes nothing and says nothing, is an error', async () => {
  await expect(writeAll(taking(3).file, Buffer.from('abcdefg'), 0)).rejects.toMatchObject({ code: 'ENOSPC' });
  await expect(writeAll(taking(3, 0).file, Buffer.from('abcdefg'), 0)).rejects.toMatchObject({
    code: 'EIO',
    message: 'the system took none of the last 4 of 7 bytes',
  });
});

test('a read that gives a part is no end of the file', async () => {
  const content = Buffer.from('abcdefg');
  const read = (into: Uint8Array, offset: number, length: number, position: number) => {
    const bytesRead = content.copy(into, offset, position, Math.min(position + Math.min(2, length), content.length));
    return Promise.resolve({ bytesRead, buffer: into });
  };
  const file = { read } as unknown as FileHandle;
  const into = Buffer.alloc(5);
  expect([await readFully(file, into, 1), into.toString()]).toEqual([5, 'bcdef']);
  expect([await readFully(file, into, 4), into.toString('utf8', 0, 3)]).toEqual([3, 'efg']);
  expect(await readFully(file, into, 7)).toBe(0);
});
