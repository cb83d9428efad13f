import { describe, expect, it } from 'vitest';
import type { SimMount } from './disk.ts';
import { afterCut, bytes, churn, failure, put, Rig, seeds, snapshot, times } from './disk-rig.ts';
import { Random } from './world.ts';

describe('a kill', () => {
  it('leaves of a write all, its beginning or nothing, and of the file nothing that was begun later', async () => {
    const found: string[] = [];
    for (const seed of seeds) {
      const rig = new Rig(seed);
      await rig.play((mount) => put(mount, '/a', ''));
      const isDone = await rig.begin(0, async (mount) => {
        const file = await mount.open('/a', 'update');
        await Promise.all([file.write([bytes('abcd')], 0), file.write([bytes('efgh')], 4)]);
      });
      const settled = rig.begin(3, async () => Promise.resolve());
      await settled;
      rig.mount.release();
      const text = rig.text('/a') ?? 'no file';
      await rig.world.play(1e6, () => false);
      expect([isDone, rig.text('/a')]).toEqual([false, text]);
      found.push(text);
    }
    for (const text of ['', 'a', 'abcd', 'abcde', 'abcdefgh'])
      expect([text, found.includes(text)]).toEqual([text, true]);
    expect(times(found, (text) => !'abcdefgh'.startsWith(text))).toBe(0);
  });

  it('settles nothing any more', async () => {
    const rig = new Rig(1);
    const heard: string[] = [];
    const file = await rig.play((mount) => mount.open('/a', 'create'));
    void file.write([bytes('x')], 0).then(() => heard.push('write'));
    rig.mount.release();
    void rig.mount.list('/').then(() => heard.push('list'));
    void file.datasync().then(() => heard.push('datasync'));
    rig.world.touch();
    await rig.world.play(1e6, () => false);
    expect(heard).toEqual([]);
  });

  it('leaves what was written to the next process, synced or not', async () => {
    const rig = new Rig(1);
    await rig.play((mount) => put(mount, '/a', 'text', false));
    rig.mount.release();
    const next = rig.disk.mount(rig.later);
    const into = Buffer.alloc(10);
    const count = await rig.play(async () => (await next.open('/a', 'read')).read(into, 1));
    expect(into.toString('latin1', 0, count)).toBe('ext');
  });
});

describe('a full disk', () => {
  it('writes what fits, refuses the rest, and has room again for what is removed or when it is drained', async () => {
    for (const seed of seeds.slice(0, 50)) {
      const rig = new Rig(seed);
      await rig.play(async (mount) => {
        await put(mount, '/reserve', 'r'.repeat(500));
        const file = await mount.open('/a', 'create');
        await file.write([bytes('abc')], 0);
        rig.disk.fill();
        const free = await mount.freeBytes('/');
        expect(free).toBeLessThan(500);
        const long = 'x'.repeat(600);
        expect(await failure(file.write([bytes(long)], 3))).toBe('ENOSPC');
        expect(rig.text('/a')).toBe(`abc${long.slice(0, free)}`);
        expect(await failure(file.write([bytes('z')], 3 + free))).toBe('ENOSPC');
        expect(await failure(file.write([bytes('ABC')], 0))).toBe('done');
        await mount.remove('/reserve');
        expect(await mount.freeBytes('/')).toBe(500);
        await file.truncate(3);
        expect(await mount.freeBytes('/')).toBe(500 + free);
        rig.disk.drain();
        await file.write([bytes(long), bytes(long)], 3);
        expect(rig.text('/a')).toBe(`ABC${long}${long}`);
        expect(await mount.freeBytes('/')).toBe(1e12);
      });
      expect(rig.count('ENOSPC')).toBe(2);
    }
  });
});

describe('operations', () => {
  it('of one file take effect in their order, of several files in any', async () => {
    const orders = new Set<string>();
    for (const seed of seeds.slice(0, 60)) {
      const rig = new Rig(seed);
      let order = '';
      await rig.play(async (mount) => {
        const [a, b] = await Promise.all([mount.open('/a', 'create'), mount.open('/b', 'create')]);
        const text = 'abcdefghij';
        const writes = [...text].map((char, at) => a.write([bytes(char.repeat(20 - at))], at));
        writes.push(b.write([bytes('b')], 0));
        await Promise.all(writes.map((write, index) => write.then(() => (order += index < 10 ? 'a' : 'b'))));
        expect(rig.text('/a')).toBe(`${text}jjjjjjjjjj`);
      });
      orders.add(order);
    }
    expect(orders.size).toBeGreaterThan(3);
  });

  it('wait while their process is frozen, and then happen in their order', async () => {
    const rig = new Rig(1);
    const held: (() => void)[] = [];
    let isFrozen = false;
    const mount = rig.disk.mount((delayMs, what) => {
      rig.world.after(delayMs, () => {
        if (isFrozen) held.unshift(what);
        else what();
      });
    });
    const file = await rig.play(() => mount.open('/a', 'create'));
    isFrozen = true;
    const writes = Promise.all([...'abc'].map((char, at) => file.write([bytes(char.repeat(3 - at))], at)));
    await rig.world.play(1_000, () => false);
    expect(rig.text('/a')).toBe('');
    isFrozen = false;
    for (const what of held) what();
    await rig.play(() => writes);
    expect(rig.text('/a')).toBe('abc');
  });

  it('end as those of a real disk do when they cannot be', async () => {
    const rig = new Rig(1);
    await rig.play(async (mount) => {
      await mount.makeDir('/dir/sub');
      await put(mount, '/dir/a', 'a');
      await put(mount, '/dir/b', 'b');
      const closed = await mount.open('/dir/a', 'update');
      await closed.close();
      const readable = await mount.open('/dir/a', 'read');
      const refused: readonly [Promise<unknown>, string][] = [
        [mount.open('/none', 'read'), 'ENOENT'],
        [mount.open('/none', 'update'), 'ENOENT'],
        [mount.open('/none/a', 'create'), 'ENOENT'],
        [mount.open('/dir', 'create'), 'EISDIR'],
        [mount.link('/dir/a', '/dir/b'), 'EEXIST'],
        [mount.link('/dir/c', '/dir/d'), 'ENOENT'],
        [mount.rename('/dir/c', '/dir/d'), 'ENOENT'],
        [mount.rename('/dir/a', '/none/a'), 'ENOENT'],
        [mount.list('/none'), 'ENOENT'],
        [mount.list('/dir/a'), 'ENOTDIR'],
        [mount.syncDir('/none'), 'ENOENT'],
        [mount.makeDir('/dir/a'), 'EEXIST'],
        [mount.remove('/dir/sub'), 'EISDIR'],
        [mount.freeBytes('/none'), 'ENOENT'],
        [closed.write([bytes('x')], 0), 'EBADF'],
        [closed.close(), 'EBADF'],
        [readable.write([bytes('x')], 0), 'EBADF'],
        [readable.truncate(0), 'EBADF'],
      ];
      const codes = await Promise.all(refused.map(([work]) => failure(work)));
      expect(codes).toEqual(refused.map(([, code]) => code));
      for (const fine of [
        mount.remove('/none'),
        mount.removeDir('/none'),
        mount.removeDir('/dir'),
        mount.makeDir('/dir'),
      ]) {
        expect(await failure(fine)).toBe('done');
      }
      expect([...(await mount.list('/dir'))].sort()).toEqual(['a', 'b', 'sub']);
      await mount.removeDir('/dir/sub');
      await mount.link('/dir/a', '/dir/c');
      await (await mount.open('/dir/a', 'update')).write([bytes('A')], 0);
      expect(rig.text('/dir/c')).toBe('A');
      expect([...(await mount.list('/dir'))].sort()).toEqual(['a', 'b', 'c']);
      expect(await failure(mount.open('/dir/c', 'replace'))).toBe('done');
      expect(rig.text('/dir/a')).toBe('');
    });
  });
});

describe('somebody else', () => {
  it('flips one bit of what is on the disk and readable', async () => {
    const found = await afterCut(
      async (mount, rig) => {
        await put(mount, '/a', 'a'.repeat(50));
        await put(mount, '/b', 'b'.repeat(50));
        await mount.syncDir('/');
        const file = await mount.open('/a', 'update');
        await file.write([bytes('c'.repeat(50))], 25);
        expect(rig.disk.flipBit((path) => path === '/none')).toBeNull();
        const where = rig.disk.flipBit((path) => path === '/a') ?? '';
        const offset = Number(/^\/a at byte (\d+)$/.exec(where)?.[1]);
        const byte = rig.disk.content('/a')?.[offset] ?? 0;
        expect(Math.log2(byte ^ 'a'.charCodeAt(0)) % 1).toBe(0);
      },
      (rig) =>
        rig.disk
          .content('/a')
          ?.subarray(0, 25)
          .filter((byte) => byte !== 'a'.charCodeAt(0)).length,
    );
    expect(new Set(found)).toEqual(new Set([1]));
  });

  it('removes a file for good', async () => {
    const found = await afterCut(
      async (mount, rig) => {
        await put(mount, '/a', 'a');
        await mount.syncDir('/');
        await mount.rename('/a', '/b');
        rig.disk.remove('/b');
        rig.disk.remove('/none/b');
      },
      (rig) => rig.disk.paths(),
    );
    expect(times(found, (paths) => paths.length > 0)).toBe(0);
  });
});

describe('a mutation', () => {
  const twoFiles = async (mount: SimMount): Promise<void> => {
    await put(mount, '/a', 'a');
    await put(mount, '/b', 'b');
    await mount.syncDir('/');
  };

  it('leaves out the sync of some files', async () => {
    const found = await afterCut(
      async (mount, rig) => {
        rig.disk.mutation = { noDataSync: (path) => path === '/a' };
        await twoFiles(mount);
      },
      (rig) => [rig.text('/a'), rig.text('/b')],
    );
    expect(times(found, ([a]) => a === '')).toBeGreaterThan(50);
    expect(times(found, ([, b]) => b !== 'b')).toBe(0);
  });

  it('leaves out the sync of folders', async () => {
    const found = await afterCut(
      async (mount, rig) => {
        rig.disk.mutation = { noDirSync: true };
        await twoFiles(mount);
      },
      (rig) => rig.disk.paths().length,
    );
    expect(times(found, (files) => files < 2)).toBeGreaterThan(50);
  });

  it('leaves out truncations', async () => {
    const rig = new Rig(1);
    await rig.play(async (mount) => {
      await put(mount, '/a', 'abc');
      rig.disk.mutation = { noTruncate: (path) => path === '/a' };
      await (await mount.open('/a', 'update')).truncate(1);
      expect(rig.text('/a')).toBe('abc');
      await (await mount.open('/a', 'replace')).close();
      expect(rig.text('/a')).toBe('');
    });
  });
});

describe('one seed', () => {
  it('does the same thing twice', async () => {
    const run = async (seed: number): Promise<unknown> => {
      const rig = new Rig(seed);
      const random = new Random(seed);
      const seen: unknown[] = [];
      for (let life = 0; life < 4; life += 1) {
        await rig.begin(random.between(20, 200), () => churn(rig.disk.mount(rig.later), random, 60));
        if (random.chance(0.3)) rig.disk.fill();
        else rig.disk.drain();
        rig.disk.powerCut();
        seen.push(rig.world.now, snapshot(rig.disk), [...rig.disk.counts]);
      }
      return seen;
    };
    const first = await run(5);
    expect(await run(5)).toEqual(first);
    expect(await run(6)).not.toEqual(first);
  });
});
