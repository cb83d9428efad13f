// Defects that chaos must find: each is a change of the compiled program, made in a copy of it. A copy of the whole program is what
// real processes need, and it leaves dist/ as it is; nothing in the program knows of it.
import { cpSync, mkdtempSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './bundle.mjs';
import { bundleProgram } from './program-bundle.mjs';

/** By name: what is replaced, file by file of dist/. Every text must be found exactly once. */
export const mutations = new Map(
  Object.entries({
    // The counter of a token alone says which lease is meant: tokens of an earlier epoch or of another node are taken.
    fencing: [
      {
        file: 'coordinator/core/ledger.js',
        from: /if \(token\.epoch !== ledger\.epoch\)\s+return undefined;\s+const lease = ledger\.leases\.get\(token\.counter\);\s+return lease\?\.node === node \? lease : undefined;/,
        to: 'return ledger.leases.get(token.counter);',
      },
    ],
    // A late result of a lease that has ended counts for its mini-batch all the same.
    late: [
      {
        file: 'coordinator/core/evolve-lease.js',
        from: 'ledger.leases.delete(counter);',
        to: '(ledger.ended ??= new Map()).set(`${epoch}.${counter}`, ledger.leases.get(counter)); ledger.leases.delete(counter);',
      },
      {
        file: 'coordinator/core/decide-result.js',
        from: /export function result\(ledger, command, at\) \{\s+const lease = findLease\(ledger, command\.node, command\.token\);/,
        to: `export function result(ledger, command, at) {
    let lease = findLease(ledger, command.node, command.token);
    const ended = ledger.ended?.get(\`\${command.token.epoch}.\${command.token.counter}\`);
    if (!lease && ended) {
      lease = { ...ended, placed: null };
      ledger.leases.set(lease.token.counter, lease);
    }`,
      },
    ],
    // Worker nodes hear that a result is committed before its record is on the disk, and forget it.
    acknowledgement: [
      {
        file: 'coordinator/core/effects.js',
        from: /case 'committed':\s+case 'seal':/,
        to: "case 'committed':\n            return false;\n        case 'seal':",
      },
    ],
    // What was written to the output and never committed stays: neither a restart nor the end of a job cuts it off.
    truncation: [
      {
        file: 'coordinator/output/recover-output.js',
        from: 'if (sizeBytes > wanted.outputEnd)',
        to: 'if (false)',
      },
      {
        file: 'coordinator/output/replace-output.js',
        from: /if \(bytes === null \|\| outputBytes === null \|\| bytes <= outputBytes\)/,
        to: 'if (true)',
      },
    ],
    // Every seventh commit is not journaled.
    'seventh-commit': [
      {
        file: 'coordinator/engine.js',
        from: 'append: (event) => journal.append(event),',
        to: `append: (event) => {
            if (event.kind === 'Committed' && (commits += 1) % 7 === 0)
                return journal.lastOfAll ?? journal.syncedSequence;
            return (journal.lastOfAll = journal.append(event));
        },`,
      },
      {
        file: 'coordinator/engine.js',
        from: 'let hasGranted = false;',
        to: 'let commits = 0, hasGranted = false;',
      },
    ],
    // A staging segment goes with the copy of its last rows, before it is durable that they have been copied.
    staging: [
      {
        file: 'coordinator/core/effects.js',
        from: "return [{ kind: 'copy', job: event.job, from, toOffset: event.copy.toOffset }];",
        to: `const { segments, bases } = jobOf(ledger, event.job);
            const taken = (segment) => from.filter((slice) => slice.segment === segment).length;
            const dropped = [...segments.keys()].filter((segment) => taken(segment) === segments.get(segment) && !bases.has(segment));
            return [
                { kind: 'copy', job: event.job, from, toOffset: event.copy.toOffset },
                ...dropped.filter((segment) => !isInUse(jobOf(ledger, event.job), segment)).map((segment) => ({ kind: 'drop-segment', job: event.job, segment })),
            ];`,
      },
      {
        file: 'coordinator/core/effects.js',
        from: /case 'drain-node':\s+case 'drop-segment':\s+case 'adopt':/,
        to: "case 'drain-node':\n        case 'adopt':",
      },
      {
        file: 'coordinator/core/effects.js',
        from: "case 'grant':\n        case 'prologue':",
        to: "case 'drop-segment':\n        case 'grant':\n        case 'prologue':",
      },
    ],
    // A retry that was canceled and goes on takes its rows from the complete output of before, with the places of its own.
    generation: [
      {
        file: 'coordinator/core/reopen-plan.js',
        from: 'const isNew = isSpliced || job.sealedGeneration === job.generation;',
        to: 'const isNew = true;',
      },
      {
        file: 'coordinator/core/generation.js',
        from: 'return sealedGeneration === generation ?',
        to: 'return sealedGeneration > 0 ?',
      },
    ],
  }),
);

/** A program with that defect: its folder, and the path of `bundled`, a bundle within dist/, in it. */
export async function makeMutant(name, bundled) {
  // macOS and others link their folder for temporary files.
  const dir = mkdtempSync(join(realpathSync(tmpdir()), `batchmill-mutant-${name}-`));
  for (const path of ['package.json', 'dist']) cpSync(root + path, join(dir, path), { recursive: true });
  for (const path of ['node_modules', 'proto', 'worker', 'test']) symlinkSync(root + path, join(dir, path));
  const changed = new Map();
  for (const { file, from, to } of mutations.get(name)) {
    const path = join(dir, 'dist', file);
    const text = readFileSync(path, 'utf8');
    const places = text.split(from).length - 1;
    if (places !== 1) throw new Error(`mutation ${name}: dist/${file} has ${places} times ${from}`);
    const contents = text.replace(from, () => to);
    writeFileSync(path, contents);
    changed.set(root + file.replace(/\.js$/, '.ts'), { contents, loader: 'js' });
  }
  // What is run is the bundle.
  const setup = ({ onLoad }) => onLoad({ filter: /\.ts$/ }, ({ path }) => changed.get(path));
  await bundleProgram({ dist: join(dir, 'dist'), plugins: [{ name: 'mutate', setup }] });
  return { dir, main: join(dir, bundled.slice(root.length)) };
}
