import { describe, expect, it } from 'vitest';
import { afterCut, bytes, churn, failure, put, Rig, seeds, snapshot, syncAll, times } from './disk-rig.ts';
import { Random } from './world.ts';

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

  it('stays when its folder has the name of one that went before', async () => {
    const found = await afterCut(
      async (mount) => {
        await mount.makeDir('/jobs/a');
        await mount.removeDir('/jobs/a');
        await mount.makeDir('/jobs/a');
        await put(mount, '/jobs/a/file', 'x');
        await mount.syncDir('/jobs/a');
      },
      (rig) => rig.text('/jobs/a/file'),
    );
    expect(times(found, (text) => text !== 'x')).toBe(0);
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
      expect([path, kept > 50, kept < seeds.length - 50]).toEqual([path, true, true]);
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
