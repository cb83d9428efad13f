/** What the documentation tells people to type must be understood, and what it points at must be there. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { normaliseArguments } from '../../cli/arguments.ts';
import { wordsOf } from '../../cli/command-words.ts';
import { buildProgram } from '../../cli/program.ts';
import { packageFile } from '../../common/io/package-files.ts';

const pages = ['README.md', 'CONTRIBUTING.md', 'examples/README.md', 'examples/digits/README.md', 'deploy/README.md'];
const guides = [
  'docs/deployment.md',
  'docs/yaml-files.md',
  'docs/api.md',
  'docs/host-protocol.md',
  'docs/architecture.md',
  'docs/manifest.md',
  'docs/cli.md',
  'docs/queue.md',
  'docs/slurm.md',
  'docs/schedules.md',
  'docs/diagnosis.md',
  'docs/operations.md',
];
const others = [
  'scripts/start.mjs',
  'deploy/systemd/batchmill-coordinator.service',
  'deploy/systemd/batchmill-worker.service',
];
const read = (path: string): string => readFileSync(packageFile(path), 'utf8');

/** Command lines of `batchmill` in a text, without the program's name. */
function commandsIn(text: string): readonly string[] {
  const found = text.matchAll(
    /(?:npx batchmill|^batchmill|\$\(batchmill|dist\/cli\/main\.js) ((?:run|plan|validate|coordinator|worker|node|job|journal|schedule|explain|doctor|context|batch-endpoint|batch-deployment|endpoint|model|data|compute|allocator) [^\n`|")]+)/gm,
  );
  return [...found].map(([, command = '']) => command.replaceAll(/\$\{\w+\}/g, 'WORD').trim());
}

/** Null when commander understands it. */
async function complaint(command: string): Promise<string | null> {
  let performed = 0;
  const program = buildProgram('0.0.0', async () => {
    performed += 1;
    return Promise.resolve();
  });
  const quiet = (one: typeof program): void => {
    one.exitOverride().configureOutput({ writeErr: () => undefined, writeOut: () => undefined });
    one.commands.forEach((child) => quiet(child));
  };
  quiet(program);
  try {
    await program.parseAsync(normaliseArguments(command.split(/\s+/), wordsOf(program)).args, { from: 'user' });
    return performed === 1 ? null : `${command}: nothing is performed`;
  } catch (error) {
    return `${command}: ${(error as Error).message}`;
  }
}

describe('commands', () => {
  test.each([...pages, ...guides, ...others])('%s: every one can be pasted', async (page) => {
    const complaints = await Promise.all(commandsIn(read(page)).map(complaint));
    expect(complaints.filter((one) => one !== null)).toEqual([]);
  });

  test('are found, and a wrong one is refused', async () => {
    expect(commandsIn(read('README.md')).length).toBeGreaterThan(8);
    expect(commandsIn(read('scripts/start.mjs')).length).toBe(3);
    expect(await complaint('job show last --colour')).toContain("unknown option '--colour'");
    expect(await complaint('run deployment.yml --output out')).toContain('--input');
  });
});

/** Rows of the README's table: `| … | `file` | `name`, `name` |`. */
function placesIn(text: string): readonly { readonly files: readonly string[]; readonly names: readonly string[] }[] {
  const code = (cell: string): readonly string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name);
  const rows = [...text.matchAll(/^\| [^|]+ \| (`[^|]+) \| (`[^|]+) \|$/gm)];
  return rows.map(([, files = '', names = '']) => ({ files: code(files), names: code(names) }));
}

/** Whether `text` declares a function, method, class or constant of this name. */
function declares(text: string, name: string): boolean {
  return new RegExp(`(?:function\\*?|const|class|def|async|^ +)\\s*${name}\\b`, 'm').test(text);
}

describe('the README’s “Where is …”', () => {
  const places = placesIn(read('README.md').split('## Where is …')[1]?.split('\n## ')[0] ?? '');

  test('names files that exist and what they declare', () => {
    const lost = places.flatMap(({ files, names }) => {
      const missing = files.filter((file) => !existsSync(packageFile(file)));
      const text = files
        .filter((file) => !missing.includes(file))
        .map(read)
        .join('\n');
      return [...missing, ...names.filter((name) => !declares(text, name)).map((name) => `${files.join()}: ${name}`)];
    });
    expect(lost).toEqual([]);
    expect(places.length).toBeGreaterThan(25);
  });

  test('would notice a name that has gone', () => {
    expect(declares(read('coordinator/core/decide-node.ts'), 'checkNode')).toBe(true);
    expect(declares(read('coordinator/core/decide-node.ts'), 'checkNodes')).toBe(false);
  });
});
