import { describe, expect, it } from 'vitest';
import { StateLock } from '../../coordinator/journal/state-lock.ts';
import { lifeOf, ownIdentity, type ProcessIdentity } from '../../common/io/process-identity.ts';
import { matching } from '../helpers/matching.ts';
import { MemoryFileSystem } from '../helpers/memory-file-system.ts';

function identity(pid: number): ProcessIdentity {
  return { pid, hostname: 'here', bootId: 'boot', startTicks: `${pid}0` };
}

async function acquire(
  disk: MemoryFileSystem,
  pid: number,
  life: 'alive' | 'dead' | 'unknown',
  onLook: () => Promise<void> = () => Promise.resolve(),
): Promise<StateLock> {
  await disk.makeDir('/state');
  await onLook();
  return StateLock.acquire('/state', disk, { self: identity(pid), lifeOf: () => life });
}

describe('the lock of a state directory', () => {
  it('is refused while its holder lives, and free again when the holder closes', async () => {
    const disk = new MemoryFileSystem();
    const first = await acquire(disk, 11, 'alive');
    await expect(acquire(disk, 12, 'alive')).rejects.toMatchObject({
      code: 'STATE_LOCKED',
      message: matching(/\/state is in use by the coordinator with process id 11/),
    });
    await first.close();
    const second = await acquire(disk, 12, 'alive');
    await second.close();
    expect(disk.paths()).toEqual([]);
  });

  it('is taken over from a holder that is dead, which then cannot remove it', async () => {
    const disk = new MemoryFileSystem();
    const dead = await acquire(disk, 11, 'alive');
    const heir = await acquire(disk, 12, 'dead');
    await dead.close();
    await expect(acquire(disk, 13, 'alive')).rejects.toMatchObject({ code: 'STATE_LOCKED' });
    await heir.close();
    expect(disk.paths()).toEqual([]);
  });

  it('has one heir when several start at once', async () => {
    for (let extraTurns = 0; extraTurns < 12; extraTurns += 1) {
      const disk = new MemoryFileSystem();
      await acquire(disk, 11, 'alive');
      const isDead = (other: ProcessIdentity): 'dead' | 'alive' => (other.pid === 11 ? 'dead' : 'alive');
      const starts = [21, 22].map(async (pid, index) => {
        for (let turn = 0; turn < extraTurns * index; turn += 1) await Promise.resolve();
        return StateLock.acquire('/state', disk, { self: identity(pid), lifeOf: isDead });
      });
      const outcomes = await Promise.allSettled(starts);
      expect(outcomes.filter((outcome) => outcome.status === 'fulfilled').length).toBe(1);
    }
  });

  it('is given back to whoever took it over a moment earlier', async () => {
    const disk = new MemoryFileSystem();
    await acquire(disk, 11, 'alive');
    const rival = `${JSON.stringify(identity(21))}\n`;
    const late = StateLock.acquire('/state', disk, {
      self: identity(22),
      lifeOf: (other) => {
        if (other.pid !== 11) return 'alive';
        disk.put('/state/lock', Buffer.from(rival));
        return 'dead';
      },
    });
    await expect(late).rejects.toMatchObject({ code: 'STATE_LOCKED', message: matching(/process id 21/) });
    expect(disk.content('/state/lock')?.toString()).toBe(rival);
    expect(disk.paths()).toEqual(['/state/lock']);
  });

  it('names the machine that it cannot look into, and a file that is no lock', async () => {
    const disk = new MemoryFileSystem();
    await acquire(disk, 11, 'alive');
    await expect(acquire(disk, 12, 'unknown')).rejects.toThrow(/process 11 on here.*remove \/state\/lock/);
    disk.put('/state/lock', Buffer.from('not json'));
    await expect(acquire(disk, 12, 'dead')).rejects.toThrow(/\/state\/lock is not a lock of this program/);
  });
});

describe('the life of a process', () => {
  it('tells this process from an earlier one with its number, and from another machine’s', () => {
    const own = ownIdentity();
    expect(lifeOf(own)).toBe('alive');
    expect(lifeOf({ ...own, startTicks: `${own.startTicks}1` })).toBe('dead');
    expect(lifeOf({ ...own, bootId: 'an earlier start of this machine' })).toBe('dead');
    expect(lifeOf({ ...own, pid: 4_194_304 + 5 })).toBe('dead');
    expect(lifeOf({ ...own, hostname: 'elsewhere' })).toBe('unknown');
  });

  it('goes by the number alone where nothing says when a process began', () => {
    const own = { ...ownIdentity(), startTicks: '' };
    expect(lifeOf(own)).toBe('alive');
    expect(lifeOf({ ...own, pid: 4_194_304 + 5 })).toBe('dead');
  });
});
