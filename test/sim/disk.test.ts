import { describe, expect, it } from 'vitest';
import { SimDisk, type DiskFault, type Later, type SimMount } from './disk.ts';
import { Random, World } from './world.ts';

const seeds = Array.from({ length: 400 }, (_, index) => index + 1);

class Rig {
  readonly world: World;
  readonly disk: SimDisk;
  readonly later: Later;
  readonly mount: SimMount;

  constructor(seed: number) {
    this.world = new World(seed);
    this.disk = new SimDisk(this.world, new Random(seed * 7_919));
    this.later = (delayMs, what) => this.world.after(delayMs, what);
    this.mount = this.disk.mount(this.later);
  }

  /** Plays until `work` is done. */
  async play<T>(work: (mount: SimMount) => Promise<T>): Promise<T> {
    let isDone = false;
    const result = work(this.mount).finally(() => (isDone = true));
    // Heard below, when the world has stood still.
    result.catch(() => undefined);
    this.world.touch();
    expect(await this.world.play(1e9, () => isDone)).toBe(true);
    return result;
  }

  /** Begins `work` and plays for `ms`; whether it has ended by then. */
  async begin(ms: number, work: (mount: SimMount) => Promise<unknown>): Promise<boolean> {
    let isDone = false;
    const end = (): void => void (isDone = true);
    work(this.mount).then(end, end);
    this.world.touch();
    await this.world.play(this.world.now + ms, () => false);
    return isDone;
  }

  text(path: string): string | null {
    return this.disk.content(path)?.toString('latin1') ?? null;
  }

  count(fault: DiskFault): number {
    return this.disk.counts.get(fault) ?? 0;
  }
}

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');

async function put(mount: SimMount, path: string, text: string, isSynced = true): Promise<void> {
  const file = await mount.open(path, 'create');
  await file.write([bytes(text)], 0);
  if (isSynced) await file.datasync();
  await file.close();
}

/** `work`, then a power cut, then what is seen: once for each seed. */
async function afterCut<T>(work: (mount: SimMount, rig: Rig) => Promise<unknown>, look: (rig: Rig) => T): Promise<T[]> {
  const found: T[] = [];
  for (const seed of seeds) {
    const rig = new Rig(seed);
    await rig.play((mount) => work(mount, rig));
    rig.disk.powerCut();
    found.push(look(rig));
  }
  return found;
}

function times<T>(found: readonly T[], isIt: (one: T) => boolean): number {
  return found.filter(isIt).length;
}

async function failure(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'done',
    (error: unknown) => (error as { readonly code?: unknown }).code,
  );
}

describe('what was synced', () => {
  it('is there after a power cut, whatever files and folders have been through', async () => {
    for (const seed of seeds) {
      const rig = new Rig(seed);
      const random = new Random(seed);
      const before = await rig.play(async (mount) => {
        await churn(mount, random, 40);
        await syncAll(mount, rig.disk);
        return snapshot(rig.disk);
      });
      rig.disk.powerCut();
      expect([seed, snapshot(rig.disk)]).toEqual([seed, before]);
      expect([...rig.disk.counts]).toEqual([]);
    }
  });

  it('stays when more is written behind it', async () => {
    const found = await afterCut(
      async (mount) => {
        await put(mount, '/a', 'x'.repeat(700));
        await mount.syncDir('/');
        const file = await mount.open('/a', 'update');
        await file.write([bytes('y'.repeat(900))], 700);
      },
      (rig) => rig.text('/a'),
    );
    expect(times(found, (text) => text?.slice(0, 700) !== 'x'.repeat(700))).toBe(0);
  });
});

describe('what was not synced', () => {
  it('is lost, kept or torn, with or without the size that it gave the file', async () => {
    const whole = 'abcdefgh'.repeat(200);
    const found = await afterCut(
      async (mount) => {
        const file = await mount.open('/a', 'create');
        await mount.syncDir('/');
        await file.write([bytes(whole.slice(0, 1_000)), bytes(whole.slice(1_000))], 0);
      },
      (rig) => rig.text('/a') ?? 'no file',
    );
    expect(times(found, (text) => text === '')).toBeGreaterThan(60);
    expect(times(found, (text) => text === whole)).toBeGreaterThan(60);
    const torn = found.filter((text) => text !== '' && text !== whole);
    expect(times(torn, (text) => whole.startsWith(text))).toBeGreaterThan(10);
    expect(times(torn, (text) => text.length === whole.length && text.endsWith('\0'))).toBeGreaterThan(10);
    // A later sector without an earlier one.
    expect(times(torn, (text) => text.startsWith('\0') && /[a-h]/.test(text))).toBeGreaterThan(10);
    for (const text of torn) {
      for (const [at, char] of [...text].entries()) if (char !== '\0' && char !== whole[at]) expect(text).toBe(whole);
    }
  });

  it('may be kept while what was written before it is lost', async () => {
    const found = await afterCut(
      async (mount) => {
        const file = await mount.open('/a', 'create');
        await mount.syncDir('/');
        await file.write([bytes('1')], 0);
        await file.write([bytes('2')], 1);
      },
      (rig) => rig.text('/a'),
    );
    for (const text of ['', '1', '12', '\u00002'])
      expect([text, times(found, (one) => one === text) > 10]).toEqual([text, true]);
  });

  it('may be a truncation, which is kept or undone, with what is written over its end', async () => {
    const found = await afterCut(
      async (mount) => {
        await put(mount, '/a', 'abcdef');
        await mount.syncDir('/');
        const file = await mount.open('/a', 'update');
        await file.truncate(2);
        await file.write([bytes('X')], 2);
      },
      (rig) => rig.text('/a'),
    );
    expect([...new Set(found)].sort()).toEqual(['ab', 'abX', 'abXdef', 'abcdef']);
  });

  it('is not covered by a sync that was begun before it had reached the file', async () => {
    const found = await afterCut(
      async (mount) => {
        const file = await mount.open('/a', 'create');
        await mount.syncDir('/');
        await Promise.all([file.write([bytes('1')], 0), file.datasync()]);
      },
      (rig) => rig.text('/a'),
    );
    expect(times(found, (text) => text === '')).toBeGreaterThan(50);
  });

  it('may be the name of a file or a folder, with what is in it', async () => {
    const found = await afterCut(
      async (mount) => {
        await put(mount, '/old', 'o');
        await mount.syncDir('/');
        await mount.remove('/old');
        await put(mount, '/new', 'n');
        await mount.makeDir('/dir');
        await put(mount, '/dir/in', 'i');
      },
      (rig) => ({ paths: rig.disk.paths().join(' '), counts: rig.disk.counts }),
    );
    const paths = found.map((one) => one.paths);
    for (const path of ['/old', '/new', '/dir/in']) {
      const kept = times(paths, (one) => one.includes(path));
      expect([path, kept > 50, kept < 350]).toEqual([path, true, true]);
    }
    for (const fault of ['lost name', 'lost folder', 'lost removal'] as const) {
      expect([fault, times(found, ({ counts }) => counts.has(fault)) > 50]).toEqual([fault, true]);
    }
  });

  it('is never a folder that was synced itself, nor one above it', async () => {
    const found = await afterCut(
      async (mount) => {
        await mount.makeDir('/a/b/c');
        await put(mount, '/a/b/c/in', 'i');
        await mount.syncDir('/a/b/c');
      },
      (rig) => rig.text('/a/b/c/in'),
    );
    expect(times(found, (text) => text !== 'i')).toBe(0);
  });
});

describe('a rename', () => {
  it('leaves the old name or the new one, never both or neither', async () => {
    for (const to of ['/new', '/other/new']) {
      const found = await afterCut(
        async (mount) => {
          await mount.makeDir('/other');
          await put(mount, '/old', 'whole');
          await mount.syncDir('/');
          await mount.rename('/old', to);
        },
        (rig) =>
          rig.disk
            .paths()
            .map((path) => `${path} ${rig.text(path)}`)
            .join(),
      );
      expect([...new Set(found)].sort()).toEqual([`${to} whole`, '/old whole'].sort());
    }
  });

  it('over another file leaves one of the two whole', async () => {
    const found = await afterCut(
      async (mount) => {
        await put(mount, '/a', 'old');
        await mount.syncDir('/');
        await put(mount, '/a.tmp', 'new');
        await mount.rename('/a.tmp', '/a');
      },
      (rig) => rig.text('/a'),
    );
    expect([...new Set(found)].sort()).toEqual(['new', 'old']);
  });

  it('is durable with the sync of either folder', async () => {
    for (const dir of ['/from', '/to']) {
      const found = await afterCut(
        async (mount) => {
          await mount.makeDir('/from');
          await mount.makeDir('/to');
          await put(mount, '/to/a', 'before');
          await put(mount, '/from/a', 'whole');
          await mount.rename('/from/a', '/to/a');
          await mount.syncDir(dir);
        },
        (rig) =>
          rig.disk
            .paths()
            .map((path) => `${path} ${rig.text(path)}`)
            .join(),
      );
      expect([...new Set(found)]).toEqual(['/to/a whole']);
    }
  });

  it('says nothing of the content', async () => {
    const found = await afterCut(
      async (mount) => {
        await put(mount, '/a.tmp', 'abcdef', false);
        await mount.rename('/a.tmp', '/a');
        await mount.syncDir('/');
      },
      (rig) => rig.text('/a'),
    );
    for (const text of ['', 'abcdef']) expect(times(found, (one) => one === text)).toBeGreaterThan(60);
    expect(times(found, (text) => text === null)).toBe(0);
    expect(times(found, (text) => text !== '' && text !== 'abcdef')).toBeGreaterThan(20);
  });
});

describe('a sync that fails', () => {
  it('leaves what was written readable, and no later sync makes it durable', async () => {
    const found = await afterCut(
      async (mount, rig) => {
        const file = await mount.open('/a', 'create');
        await mount.syncDir('/');
        await file.write([bytes('1')], 0);
        await file.datasync();
        await file.write([bytes('2')], 1);
        rig.disk.failNextSync((path) => path === '/a');
        expect(await failure(file.datasync())).toBe('EIO');
        await file.write([bytes('3')], 2);
        await file.datasync();
        expect(rig.text('/a')).toBe('123');
      },
      (rig) => rig.text('/a'),
    );
    expect([...new Set(found)].sort()).toEqual(['1\u00003', '123']);
    expect(times(found, (text) => text === '123')).toBeGreaterThan(60);
    expect(times(found, (text) => text !== '123')).toBeGreaterThan(60);
  });
});

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

const churnDirs = ['/x', '/y', '/x/z'];
const churnPaths = churnDirs.flatMap((dir) => ['a', 'b', 'c'].map((name) => `${dir}/${name}`));

/** Anything that may happen to a few files, syncs included; what cannot be is refused and forgotten. */
async function churn(mount: SimMount, random: Random, operations: number): Promise<void> {
  for (let done = 0; done < operations; done += 1) {
    const [path, other] = [random.pick(churnPaths), random.pick(churnPaths)];
    const dir = random.pick(churnDirs);
    const steps: readonly (() => Promise<unknown>)[] = [
      () => mount.makeDir(dir),
      () => mount.removeDir(dir),
      () => mount.syncDir(dir),
      () => mount.remove(path),
      () => mount.rename(path, other),
      () => mount.link(path, other),
      ...[0, 1, 2].map(() => () => scribble(mount, path, random)),
    ];
    await failure(random.pick(steps)());
  }
}

async function scribble(mount: SimMount, path: string, random: Random): Promise<void> {
  const file = await mount.open(path, random.chance(0.8) ? 'create' : 'replace');
  for (let writes = random.between(0, 3); writes > 0; writes -= 1) {
    if (random.chance(0.2)) await file.truncate(random.between(0, 900));
    else await file.write([bytes(String(random.between(1, 9)).repeat(random.between(1, 800)))], random.between(0, 900));
    if (random.chance(0.3)) await file.datasync();
  }
  await file.close();
}

async function syncAll(mount: SimMount, disk: SimDisk): Promise<void> {
  for (const path of disk.paths()) await (await mount.open(path, 'read')).datasync();
  for (const dir of ['/', ...churnDirs]) await failure(mount.syncDir(dir));
}

function snapshot(disk: SimDisk): readonly string[] {
  return disk.paths().map((path) => `${path} ${disk.content(path)?.toString('latin1')}`);
}
