/** Targets that read bytes of formats of our own: host frames, custom archives, manifests, signatures, log names. */
import { join, resolve } from 'node:path';
import { crc32 } from 'node:zlib';
import { FrameReader, frameHeader } from '../../common/core/frame.ts';
import { entryHead, entryTrailer, type CustomEntry } from '../../common/storage/custom-archive.ts';
import { signatureDefect } from '../../common/security/detached-jws.ts';
import { publishCustomFiles } from '../../coordinator/output/custom-publish.ts';
import { nodeLogPath } from '../../coordinator/logs/log-tree.ts';
import { parseDone, parseFailed, parseReady } from '../../worker/pool/host-messages.ts';
import { MemoryFileSystem } from '../helpers/memory-file-system.ts';
import { sampleKey, sealedSample, textOf, verifySample } from '../helpers/sealed-sample.ts';
import { FuzzDefect, nothingOpen, outcomeOf, same, type FuzzTarget } from './target.ts';

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

const frame = (type: number, payload: Uint8Array): Buffer =>
  Buffer.concat([frameHeader(type, payload, (bytes, before) => crc32(bytes, before)), payload]);

const messages = [
  json({ pid: 7, initSeconds: 0.5 }),
  json({
    ...{
      sequence: 1,
      bytes: 10,
      rows: 3,
      attribution: 'file',
      fileRows: [1, 1, 1],
      failed: [],
      schema: null,
      runSeconds: 1,
    },
    appended: ['a.txt'],
  }),
  json({
    sequence: 1,
    bytes: 0,
    rows: 2,
    attribution: 'range',
    fileRows: null,
    failed: [{ index: 2, code: 'SCORER_FAILED', message: 'x' }],
    schema: { columns: ['a:int'], prologue: 'a\n' },
    runSeconds: 0,
  }),
  json({ sequence: 2, code: 'SCORER_FAILED', message: 'm', detail: 'd', fileIndex: -1 }),
];

export const frames: FuzzTarget = {
  name: 'frames',
  weight: 20,
  open: () =>
    Promise.resolve({
      samples: {
        valid: [
          ...messages.map((payload, type) => frame(type + 1, payload)),
          Buffer.concat(messages.map((m) => frame(9, m))),
        ],
        words: ['null', '-1', '1e99', '"range"', '"file"', '[]', '{}'],
      },
      run: (input, random) =>
        outcomeOf(() => {
          const reader = new FrameReader((bytes, before) => crc32(bytes, before));
          const cut = random.between(0, input.length);
          const found = [...reader.push(input.subarray(0, cut)), ...reader.push(input.subarray(cut))];
          const again = Buffer.concat(found.map(({ type, payload }) => frame(type, payload)));
          if (!again.equals(input.subarray(0, again.length)))
            throw new FuzzDefect('frames do not encode to what they were read from');
        }),
      close: nothingOpen,
    }),
};

export const hostMessages: FuzzTarget = {
  name: 'host-messages',
  weight: 18,
  open: () =>
    Promise.resolve({
      samples: {
        valid: messages,
        words: ['null', '-1', '1e99', '0.5', '"range"', '"file"', '[]', '{}', '"code":"NOPE"', '\\ud800'],
      },
      run: (input, random) =>
        outcomeOf(() => {
          const files = random.pick([1, 3, 3, 3]);
          const text = Buffer.from(input).toString('latin1');
          const done = (bytes: Uint8Array): ReturnType<typeof parseDone> => parseDone(bytes, files);
          const parse = text.includes('"fileRows"') ? done : text.includes('"pid"') ? parseReady : parseFailed;
          const value = parse(input);
          same(parse(json(value)), value, 'a message of a host');
          if (!('fileRows' in value)) return;
          const { fileRows, failed, rows } = value;
          const isSound =
            fileRows === null || (fileRows.length === files && fileRows.reduce((sum, one) => sum + one, 0) === rows);
          if (!isSound || failed.some(({ index }) => index >= files))
            throw new FuzzDefect('counts that do not fit the mini-batch');
        }),
      close: nothingOpen,
    }),
};

function entry(custom: Omit<CustomEntry, 'bytes'>, data: string): Buffer {
  const body = Buffer.from(data);
  const { head, crc32: sum } = entryHead({ ...custom, bytes: body.length });
  return Buffer.concat([head, body, entryTrailer(crc32(body, sum))]);
}

/** Files of user code as they are staged: what is published is what was written, byte for byte. */
export const archives: FuzzTarget = {
  name: 'archives',
  weight: 13,
  open: () => {
    const written = new Map([
      ['a/report.txt', 'text\n'],
      ['plot.png', 'x'.repeat(50)],
    ]);
    const [report = '', plot = ''] = written.values();
    const one = entry({ path: 'a/report.txt', how: 'append' }, report);
    // As a worker node may send them that is not ours: their sums are right.
    const hostile = ['../../etc/passwd', '/etc/passwd', '_SUCCESS', 'predictions.csv', 'a/../b', '_logs/x'].map(
      (path) => entry({ path, how: 'whole' }, plot),
    );
    const other = entry({ path: 'plot.png', how: 'whole' }, plot);
    return Promise.resolve({
      samples: {
        valid: [one, other, Buffer.concat([one, other, one]), ...hostile],
        words: [
          '"append"',
          '"whole"',
          '../',
          '/',
          '_SUCCESS',
          '"bytes":-1',
          '"bytes":1e15',
          '"bytes":9007199254740993',
        ],
      },
      run: (input) =>
        outcomeOf(async () => {
          const disk = new MemoryFileSystem();
          disk.put('/staging/segment-000001', input);
          const archives = [{ segment: 1, offset: 0, length: input.length }];
          const place = { dir: '/out', stagingDir: '/staging', outputFileName: 'predictions.csv', job: 'job-1' };
          const { files } = await publishCustomFiles({ ...place, archives, fileSystem: disk });
          for (const { path } of files) {
            const [text, one] = [String(disk.content(join('/out', path)) ?? ''), written.get(path)];
            // Appended any number of times, or written whole.
            if (one === undefined || text.replaceAll(one, '') !== '')
              throw new FuzzDefect(`${path} is published, as ${JSON.stringify(text)}`);
          }
        }),
      close: nothingOpen,
    });
  },
};

/** Any change to any file of a signed folder must be found. */
export const sealedFolders: FuzzTarget = {
  name: 'sealed-folders',
  weight: 2,
  open: async () => {
    const disk = await sealedSample({ isSigned: true });
    const paths = disk.paths().filter((path) => !path.endsWith('_SUCCESS'));
    const contents = new Map(paths.map((path) => [path, disk.content(path) as Buffer]));
    const valid = [...contents.values()];
    return {
      samples: { valid, words: ['"scored"', '"failed"', 'null', '-1', '\n', '[0,3]', '1e99'] },
      run: async (input, random) => {
        const path = paths.find((one) => contents.get(one)?.equals(input)) ?? random.pick(paths);
        disk.put(path, input);
        const report = await verifySample(disk, { key: sampleKey });
        disk.put(path, contents.get(path) as Buffer);
        const isSame = contents.get(path)?.equals(input) === true;
        // A line end behind a signature is as good as none.
        const isPadding =
          path.endsWith('.jws') &&
          Buffer.from(input).toString('latin1').trimEnd() === textOf(disk, '_manifest.jws').trimEnd();
        if (report.is_valid !== (isSame || isPadding))
          throw new FuzzDefect(`${path} is ${isSame ? 'refused' : 'accepted'}: ${JSON.stringify(report.findings[0])}`);
        return report.is_valid
          ? { kind: 'accepted' }
          : { kind: 'refused', code: report.findings[0]?.code ?? 'nothing' };
      },
      close: nothingOpen,
    };
  },
};

/** Without a signature, what is accepted has the same ranges, sums and digests. */
export const manifests: FuzzTarget = {
  name: 'manifests',
  weight: 3,
  open: async () => {
    const disk = await sealedSample();
    const path = '/out/_manifest.json';
    const whole = disk.content(path) as Buffer;
    const certain = (bytes: Uint8Array): unknown => {
      const { verdict, output, files, errors, segments, totals, custom_files, custom_chunks } = JSON.parse(
        Buffer.from(bytes).toString(),
      ) as Record<string, Record<string, unknown>>;
      // Format 1 had neither segments nor totals: a manifest that has lost them says less, and nothing that is wrong.
      return {
        verdict,
        output,
        files,
        errors,
        custom_files,
        custom_chunks,
        ...(segments && { segments }),
        ...(totals && { totals }),
      };
    };
    const wanted = certain(whole) as Record<string, unknown>;
    return {
      samples: {
        valid: [whole],
        words: ['"Failed"', 'null', '-1', '0', '[]', '{}', '"_manifest/files-00000.jsonl"', '../', '1e99'],
      },
      run: async (input) => {
        disk.put(path, input);
        const report = await verifySample(disk);
        disk.put(path, whole);
        if (!report.is_valid) return { kind: 'refused', code: report.findings[0]?.code ?? 'nothing' };
        const found = certain(input) as Record<string, unknown>;
        for (const key of Object.keys(found)) {
          if (!isPart(found[key], wanted[key]))
            throw new FuzzDefect(`${key} is accepted as ${JSON.stringify(found[key])}`);
        }
        return { kind: 'accepted' };
      },
      close: nothingOpen,
    };
  },
};

/** Whether everything that `wanted` says stands in `found`; keys that are not ours pass through unseen. */
function isPart(found: unknown, wanted: unknown): boolean {
  if (typeof wanted !== 'object' || wanted === null) return found === wanted;
  if (typeof found !== 'object' || found === null) return false;
  if (Array.isArray(wanted) && (!Array.isArray(found) || found.length !== wanted.length)) return false;
  return Object.entries(wanted).every(
    ([key, value]) =>
      isPart((found as Record<string, unknown>)[key], value) || (found as Record<string, unknown>)[key] === undefined,
  );
}

/** The same bytes by a last letter of which four bits mean nothing. */
function otherSpelling(base64url: string): string {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  return base64url.slice(0, -1) + (letters[letters.indexOf(base64url.at(-1) ?? '') ^ 1] ?? '');
}

export const signatures: FuzzTarget = {
  name: 'signatures',
  weight: 6,
  open: async () => {
    const disk = await sealedSample({ isSigned: true });
    const content = disk.content('/out/_manifest.json') as Buffer;
    const jws = textOf(disk, '_manifest.jws').trimEnd();
    const header = Buffer.from(JSON.stringify({ alg: 'none' })).toString('base64url');
    return {
      samples: {
        valid: [Buffer.from(jws), Buffer.from(otherSpelling(jws))],
        words: ['.', '..', `${header}..`, '=', '-', '_'],
      },
      run: (input) => {
        const text = Buffer.from(input).toString('latin1');
        const defect = signatureDefect(text, content, sampleKey);
        if (defect === null && text.trimEnd() !== jws) throw new FuzzDefect(`another signature is accepted: ${text}`);
        return defect === null ? { kind: 'accepted' } : { kind: 'refused', code: 'SIGNATURE_INVALID' };
      },
      close: nothingOpen,
    };
  },
};

export const logNames: FuzzTarget = {
  name: 'log-names',
  weight: 10,
  open: () =>
    Promise.resolve({
      samples: {
        valid: [
          'stdout/process000.stdout.txt',
          'stderr/process001.stderr.txt',
          'user/stdout/n1/process000.stdout.txt',
          'sys/mini_batches/n1.jsonl',
          'process000/own.log',
          'mini_batches.jsonl',
        ].map((text) => Buffer.from(text)),
        words: ['..', '/', '//', '../../', '\\', '\0', '\n', '.', 'user/', 'sys/', '%2e%2e'],
      },
      run: (input, random) =>
        outcomeOf(() => {
          const name = Buffer.from(input).toString('utf8');
          const path = nodeLogPath(random.pick(['n1', '..', 'a/b', '.', 'node 1']), name);
          const target = resolve('/out/_logs', path);
          if (!target.startsWith('/out/_logs/') || join('/out/_logs', path) !== target)
            throw new FuzzDefect(`${JSON.stringify(name)} is written to ${target}`);
          if (path.includes('\0')) throw new FuzzDefect('a name with a zero byte');
        }),
      close: nothingOpen,
    }),
};
