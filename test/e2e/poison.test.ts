/** Files that ruin whatever scores them, among many that are fine: each costs itself, and little more. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../common/io/clock.ts';
import { limits } from '../../common/core/limits.ts';
import { writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, runProgram } from '../helpers/programs.ts';
import { testPython } from '../helpers/python.ts';
import { readOutput } from '../helpers/sealed-output.ts';

/** The full size, 10,000 files and a print of 1 GB, by `POISON_FILES=10000 POISON_PRINT_MB=1000`. */
const files = Number(process.env['POISON_FILES'] ?? 1_000);
const printMegabytes = Number(process.env['POISON_PRINT_MB'] ?? 100);
/** A file that prints a gigabyte on a busy machine is slow and does not hang. */
const timeoutSeconds = printMegabytes > 100 ? 10 : 2;
const memoryMegabytes = 300;

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-poison-'));
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

/** What each word comes to: the code and the words of the reason, and how the host ended. */
const poison: Readonly<Record<string, readonly [code: string, reason: RegExp, hostExit: string | null]>> = {
  raise: ['SCORER_FAILED', /^ValueError: cannot score f\d+\.txt$/, null],
  none: ['SCORER_OUTPUT_INVALID', /NoneType/, null],
  hang: ['SCORER_TIMEOUT', new RegExp(`longer than ${timeoutSeconds} s`), 'signal SIGKILL'],
  segfault: ['SCORER_CRASHED', /SIGSEGV/, 'signal SIGSEGV'],
  exit: ['SCORER_CRASHED', /exited with code 7/, 'exit code 7'],
  memory: ['SCORER_OUT_OF_MEMORY', new RegExp(`used \\d+ MB .*allows ${memoryMegabytes} MB`), 'signal SIGKILL'],
};

/** Logs of what hosts printed that were cut, with the bytes that their notes tell of. */
function cutLogs(tree: string): readonly { readonly size: number; readonly kept: number; readonly dropped: number }[] {
  const folder = join(tree, 'user', 'stdout');
  return readdirSync(folder).flatMap((node) =>
    readdirSync(join(folder, node)).flatMap((name) => {
      const log = readFileSync(join(folder, node, name));
      const note = /\n\[batchmill: the log is cut here; (\d+) bytes are kept, (\d+) more were dropped\]\n$/.exec(
        log.subarray(-200).toString(),
      );
      if (note === null) return [];
      return [{ size: log.length - note[0].length, kept: Number(note[1]), dropped: Number(note[2]) }];
    }),
  );
}

test.each(['open', 'c'])(
  'six poison files cost themselves; files are read with %s',
  async (reader) => {
    const words = [...Object.keys(poison), 'print'];
    const step = Math.floor(files / words.length);
    const wordAt = new Map(words.map((word, index) => [index * step + 13 + index, word]));
    const name = (index: number): string => `f${String(index).padStart(5, '0')}.txt`;
    const input = writeInputs(
      join(dir, 'in'),
      Array.from({ length: files }, (_, index) => [name(index), wordAt.get(index) ?? 'fine'] as const),
    );
    const counts = join(dir, 'counts');
    mkdirSync(counts);
    const deployment = writeDeployment(dir, 'poison', {
      script: 'poison.py',
      environment: { COUNTS: counts, READER: reader, PRINT_MB: String(printMegabytes) },
      more: [
        ...['retry_settings:', '  max_retries: 3', `  timeout: ${timeoutSeconds}`],
        ...['resources:', `  memory: ${memoryMegabytes}MB`],
      ],
    });
    const args = ['run', deployment, '--input', input, '--output', join(dir, 'out')];
    const startedAt = systemClock.monotonic();
    const end = await runProgram(
      [...args, '--nodes', '2', '--slots', '1', '--python', testPython()],
      { cwd: dir },
      300_000,
    );
    expect(end.code, end.stderr).toBe(0);
    const seconds = (systemClock.monotonic() - startedAt) / 1_000;

    const { text, errors, files: lines, isComplete } = readOutput(join(dir, 'out'));
    expect(isComplete).toBe(true);
    const wanted = [...wordAt].filter(([, word]) => word !== 'print');
    const found = errors.map(({ path, code, host_exit }) => [path, code, host_exit]);
    expect(found).toEqual(wanted.map(([at, word]) => [name(at), poison[word]?.[0], poison[word]?.[2]]));
    for (const [index, [, word]] of wanted.entries()) expect(errors[index]?.message).toMatch(poison[word]?.[1] ?? /^$/);
    expect(errors.every(({ tries }) => tries >= 3)).toBe(true);
    expect(errors[2]?.run_seconds).toBeGreaterThanOrEqual(timeoutSeconds);
    expect(errors[5]?.peak_memory_bytes).toBeGreaterThan(memoryMegabytes * 1_048_576);
    expect(errors[5]?.peak_memory_bytes).toBeLessThan(4 * memoryMegabytes * 1_048_576);

    const poisoned = new Set(wanted.map(([at]) => at));
    const rows = Array.from({ length: files }, (_, at) => at).filter((at) => !poisoned.has(at));
    expect(text).toBe(rows.map((at) => `${name(at)}\n`).join(''));
    expect(lines.map(({ path, status, code }) => [path, status, code])).toEqual(
      Array.from({ length: files }, (_, at) => {
        const word = poisoned.has(at) ? (wordAt.get(at) ?? '') : null;
        return word === null ? [name(at), 'scored', null] : [name(at), 'failed', poison[word]?.[0]];
      }),
    );

    const cut = cutLogs(join(dir, 'out', '_logs'));
    expect(cut.length).toBeGreaterThan(0);
    for (const { size, kept } of cut) {
      expect(size).toBe(kept);
      expect(kept).toBeLessThanOrEqual(limits.hostLogBytesMax);
    }
    const printed = cut.map(({ kept, dropped }) => kept + dropped);
    expect(Math.max(...printed)).toBeGreaterThanOrEqual(printMegabytes * 1_048_576);

    const given = readdirSync(counts).reduce((sum, file) => sum + statSync(join(counts, file)).size, 0);
    const extra = given - files;
    console.log(
      [
        `${files} files read with ${reader}: ${rows.length} rows in order, ${errors.length} quarantined, ${seconds.toFixed(1)} s`,
        ...errors.map(
          ({ path, code, tries, run_seconds, peak_memory_bytes, host_exit, message }) =>
            `  ${path} ${code}, ${tries} tries, ${run_seconds?.toFixed(1)} s, ${megabytes(peak_memory_bytes)}, ` +
            `${host_exit ?? 'host lives'}: ${message.split('\n', 1)[0]?.slice(0, 120)}`,
        ),
        ...cut.map(({ kept, dropped }) => `  a log of ${kept} bytes, cut; ${dropped} more were dropped`),
        `  ${extra} files were given to run() once more: ${((100 * extra) / files).toFixed(2)} % extra scorings`,
      ].join('\n'),
    );
    // 2 % of ten thousand: what poison costs does not grow with the input.
    expect(extra).toBeLessThan(200);
  },
  320_000,
);

function megabytes(bytes: number | null): string {
  return bytes === null ? 'memory unknown' : `${Math.round(bytes / 1_048_576)} MB at most`;
}
