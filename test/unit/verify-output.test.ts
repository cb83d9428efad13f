/** Every kind of damage to a sealed output is named, and nothing else is. */
import { describe, expect, it } from 'vitest';
import type { Finding } from '../../coordinator/verify/findings.ts';
import { limits } from '../../common/core/limits.ts';
import { failing } from '../helpers/failing.ts';
import type { MemoryFileSystem } from '../helpers/memory-file-system.ts';
import {
  edit,
  editManifest,
  forgeLines,
  sampleFiles,
  sampleInputs,
  sampleKey,
  sealedSample,
  textOf,
  verifySample,
} from '../helpers/sealed-sample.ts';
import { generateKeyPairSync } from 'node:crypto';
import { publicJwk, type PublicJwk } from '../../common/security/detached-jws.ts';

type Named = Pick<Finding, 'code' | 'kind' | 'path' | 'place'>;
const named = ({ code, kind, path, place }: Finding): Named => ({ code, kind, path, place });
const lines0 = '_manifest/files-00000.jsonl';
const lines1 = '_manifest/files-00001.jsonl';
const segments = '_manifest/segments-00000.jsonl';

interface Damage {
  readonly what: string;
  readonly change: (disk: MemoryFileSystem) => void;
  readonly found: readonly Named[];
}

async function found(damage: Pick<Damage, 'change'>): Promise<readonly Named[]> {
  const disk = await sealedSample();
  damage.change(disk);
  const report = await verifySample(disk);
  expect(report.is_valid).toBe(report.findings.length === 0);
  expect(report.findings_total).toBe(report.findings.length);
  return report.findings.map(named);
}

const corrupt = (kind: 'altered' | 'missing', path: string, place: string | null = null): Named => ({
  ...{ code: 'OUTPUT_CORRUPT', kind, path, place },
});
const invalid = (kind: Finding['kind'], path: string, place: string | null): Named => ({
  ...{ code: 'MANIFEST_INVALID', kind, path, place },
});

describe('a sealed output', () => {
  it('holds as it was sealed, and the report says what was looked at', async () => {
    const disk = await sealedSample();
    expect(await verifySample(disk)).toMatchObject({
      ...{ is_valid: true, findings: [], findings_total: 0, name: 'digits-1', verdict: 'Completed', format: 3 },
      ...{ files: sampleFiles, rows: 11, segments: 4, signature: 'none', inputs_checked: 0, input_path: null },
    });
  });

  it('has segments that tile bytes, files and rows', async () => {
    const disk = await sealedSample();
    const tiles = textOf(disk, segments)
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, number>);
    let [offset, first] = [0, 0];
    for (const tile of tiles) {
      expect([tile['offset'], tile['first']]).toEqual([offset, first]);
      offset += tile['bytes'] as number;
      first += tile['files'] as number;
    }
    expect([offset, first]).toEqual([textOf(disk, 'predictions.csv').length, sampleFiles]);
    expect(tiles.map(({ rows }) => rows)).toEqual([0, 5, 4, 2]);
  });
});

describe('one thing that is changed in it is named', () => {
  const damages: readonly Damage[] = [
    {
      what: 'a byte of the output',
      change: (disk) => edit(disk, 'predictions.csv', (text) => text.replace('scan-07.png,7', 'scan-07.png,1')),
      found: [corrupt('altered', 'predictions.csv', 'bytes 81 to 137')],
    },
    {
      what: 'the text before the first row',
      change: (disk) => edit(disk, 'predictions.csv', (text) => text.replace('digit', 'Digit')),
      found: [corrupt('altered', 'predictions.csv', 'bytes 0 to 11')],
    },
    {
      what: 'an output that is cut short',
      change: (disk) => edit(disk, 'predictions.csv', (text) => text.slice(0, -5)),
      found: [corrupt('altered', 'predictions.csv', 'bytes 137 to 165')],
    },
    {
      what: 'rows behind the end of the output',
      change: (disk) => edit(disk, 'predictions.csv', (text) => `${text}more\n`),
      found: [corrupt('altered', 'predictions.csv')],
    },
    {
      what: 'an output that is gone',
      change: (disk) => void disk.remove('/out/predictions.csv'),
      found: [corrupt('missing', 'predictions.csv')],
    },
    {
      what: 'a line of an input file',
      change: (disk) => edit(disk, lines0, (text) => text.replace('"attempt":"1.1"', '"attempt":"9.9"')),
      found: [corrupt('altered', lines0)],
    },
    {
      what: 'lines of input files that are gone',
      change: (disk) => void disk.remove(`/out/${lines1}`),
      found: [corrupt('missing', lines1)],
    },
    {
      what: 'a reason in the errors file',
      change: (disk) => edit(disk, '_errors.jsonl', (text) => text.replace('no image', 'an image')),
      found: [corrupt('altered', '_errors.jsonl')],
    },
    {
      what: 'an errors file that is gone',
      change: (disk) => void disk.remove('/out/_errors.jsonl'),
      found: [corrupt('missing', '_errors.jsonl')],
    },
    {
      what: 'a segment',
      change: (disk) => edit(disk, segments, (text) => text.replace('"rows":4', '"rows":5')),
      found: [corrupt('altered', segments)],
    },
    {
      what: '_SUCCESS',
      change: (disk) => void disk.remove('/out/_SUCCESS'),
      found: [{ code: 'OUTPUT_INCOMPLETE', kind: 'missing', path: '_SUCCESS', place: null }],
    },
    {
      what: 'the manifest',
      change: (disk) => void disk.remove('/out/_manifest.json'),
      found: [{ code: 'OUTPUT_INCOMPLETE', kind: 'incomplete', path: '_manifest.json', place: null }],
    },
    {
      what: 'a manifest that is no JSON',
      change: (disk) => edit(disk, '_manifest.json', (text) => text.slice(0, 100)),
      found: [invalid('inconsistent', '_manifest.json', null)],
    },
    {
      what: 'a manifest with a value of another type',
      change: (disk) => editManifest(disk, (manifest) => (manifest['format'] = 'two')),
      found: [invalid('inconsistent', '_manifest.json', 'format')],
    },
    {
      what: 'a manifest that names a file elsewhere',
      change: (disk) =>
        editManifest(
          disk,
          (manifest) =>
            ((manifest['files'] as { path: string }[])[0] = { ...chunkOf(manifest), path: '_manifest/../../etc/x' }),
        ),
      found: [invalid('inconsistent', '_manifest.json', null)],
    },
  ];
  it.each(damages)('$what', async (damage) => expect(await found(damage)).toEqual(damage.found));
});

function chunkOf(manifest: Record<string, unknown>): { path: string } {
  return (manifest['files'] as { path: string }[])[0] as { path: string };
}

const at = (
  lines: Record<string, unknown>[],
  index: number,
  change: Record<string, unknown>,
): Record<string, unknown>[] => lines.map((line, place) => (place === index ? { ...line, ...change } : line));

describe('a manifest whose digests fit and that contradicts itself is refused where it does', () => {
  const damages: readonly Damage[] = [
    {
      what: 'a file that is left out',
      change: (disk) => forgeLines(disk, lines0, (lines) => lines.filter((_, index) => index !== 1)),
      found: [invalid('gap', lines0, 'line 2'), invalid('inconsistent', segments, 'line 2')],
    },
    {
      what: 'a file that is named twice',
      change: (disk) => forgeLines(disk, lines0, (lines) => [...lines.slice(0, 2), ...lines.slice(1)]),
      found: [
        invalid('overlap', lines0, 'line 3'),
        invalid('overlap', lines0, 'line 3'),
        invalid('inconsistent', segments, 'line 2'),
      ],
    },
    {
      what: 'a path that is doubled under another ordinal',
      change: (disk) => forgeLines(disk, lines0, (lines) => at(lines, 2, { path: 'scan-01.png' })),
      found: [invalid('overlap', lines0, 'line 3')],
    },
    {
      what: 'files out of order',
      change: (disk) => forgeLines(disk, lines0, (lines) => at(lines, 2, { path: 'scan-00a.png' })),
      found: [invalid('inconsistent', lines0, 'line 3')],
    },
    {
      what: 'mini-batches that overlap',
      change: (disk) =>
        forgeLines(disk, lines0, (lines) => at(at(lines, 3, { mini_batch: [2, 3] }), 4, { mini_batch: [2, 3] })),
      found: [invalid('overlap', lines0, 'line 4')],
    },
    {
      what: 'a mini-batch that begins behind its file',
      change: (disk) => forgeLines(disk, lines0, (lines) => at(lines, 3, { mini_batch: [4, 1] })),
      found: [invalid('gap', lines0, 'line 4'), invalid('overlap', lines0, 'line 5')],
    },
    {
      what: 'a scored file in no mini-batch',
      change: (disk) =>
        forgeLines(disk, lines1, (lines) =>
          at(lines, 0, { mini_batch: null, status: 'scored', code: null, attempt: '1.9' }),
        ),
      found: [invalid('gap', lines1, 'line 1'), invalid('inconsistent', '_errors.jsonl', 'line 1')],
    },
    {
      what: 'a failed file without a reason',
      change: (disk) => forgeLines(disk, '_errors.jsonl', () => []),
      found: [invalid('gap', lines1, 'line 1')],
    },
    {
      what: 'a reason for a file that has not failed',
      change: (disk) =>
        forgeLines(disk, '_errors.jsonl', (lines) => [...lines, { ...lines[0], ordinal: 8, path: 'scan-08.png' }]),
      found: [invalid('inconsistent', '_errors.jsonl', 'line 2')],
    },
    {
      what: 'a reason that is there twice',
      change: (disk) => forgeLines(disk, '_errors.jsonl', (lines) => [...lines, ...lines]),
      found: [invalid('overlap', '_errors.jsonl', 'line 2')],
    },
    {
      what: 'an unscored file in a completed job',
      change: (disk) =>
        forgeLines(disk, lines0, (lines) => at(lines, 0, { status: 'unscored', attempt: null, rows: null })),
      found: [invalid('inconsistent', lines0, 'line 1'), invalid('inconsistent', segments, 'line 2')],
    },
    {
      what: 'a hole between segments',
      change: (disk) => forgeLines(disk, segments, (lines) => lines.filter((_, index) => index !== 2)),
      found: [
        invalid('inconsistent', segments, 'line 3'),
        invalid('gap', segments, 'line 3'),
        invalid('gap', segments, 'line 3'),
      ],
    },
    {
      what: 'segments that overlap',
      change: (disk) => forgeLines(disk, segments, (lines) => at(lines, 2, { offset: 80, bytes: 57 })),
      found: [invalid('overlap', segments, 'line 3')],
    },
    {
      what: 'rows of a segment that its files do not have',
      change: (disk) => forgeLines(disk, segments, (lines) => at(lines, 2, { rows: 5 })),
      found: [invalid('inconsistent', segments, 'line 3')],
    },
    {
      what: 'a checksum that was made to fit nothing',
      change: (disk) => forgeLines(disk, segments, (lines) => at(lines, 1, { crc32: '00000000' })),
      found: [corrupt('altered', 'predictions.csv', 'bytes 11 to 81')],
    },
    {
      what: 'totals that do not add up',
      change: (disk) =>
        editManifest(disk, (manifest) => ((manifest['totals'] as Record<string, number>)['scored'] = 12)),
      found: [invalid('inconsistent', '_manifest.json', 'totals.scored')],
    },
    {
      what: 'a count of lines',
      change: (disk) =>
        editManifest(disk, (manifest) => ((chunkOf(manifest) as unknown as Record<string, number>)['lines'] = 6)),
      found: [invalid('inconsistent', lines0, 'line 5')],
    },
    {
      what: 'rows that the job counted otherwise',
      change: (disk) => editManifest(disk, (manifest) => ((manifest['counts'] as Record<string, number>)['rows'] = 12)),
      found: [invalid('inconsistent', '_manifest.json', 'counts.rows')],
    },
  ];
  it.each(damages)('$what', async (damage) => expect(await found(damage)).toEqual(damage.found));
});

describe('inputs', () => {
  const where = { inputPath: import.meta.dirname };
  it('as they were listed are fine', async () => {
    const report = await verifySample(await sealedSample(), { ...where, statFiles: sampleInputs() });
    expect(report).toMatchObject({ is_valid: true, inputs_checked: sampleFiles, input_path: import.meta.dirname });
  });

  it('that have changed or gone are named one by one', async () => {
    const statFiles = sampleInputs({
      'scan-03.png': { path: 'scan-03.png', sizeBytes: 103, identity: '103-9' },
      'scan-04.png': { path: 'scan-04.png', sizeBytes: 7, identity: '7-1' },
      'scan-11.png': null,
    });
    const report = await verifySample(await sealedSample(), { ...where, statFiles });
    expect(report.findings.map(({ code, path, place }) => ({ code, path, place }))).toEqual([
      { code: 'INPUT_CHANGED', path: 'scan-03.png', place: 'file 3' },
      { code: 'INPUT_CHANGED', path: 'scan-04.png', place: 'file 4' },
      { code: 'INPUT_UNREADABLE', path: 'scan-11.png', place: 'file 11' },
    ]);
    expect(report.findings_by_code).toEqual({ INPUT_CHANGED: 2, INPUT_UNREADABLE: 1 });
  });

  it('that were asked for and are not there are an error of the caller', async () => {
    await expect(verifySample(await sealedSample(), { inputPath: '/nowhere/at/all' })).rejects.toThrow(
      failing('INPUT_NOT_FOUND', '/nowhere/at/all'),
    );
  });
});

describe('a signature', () => {
  const other = publicJwk(generateKeyPairSync('ed25519').publicKey) as PublicJwk;
  const signature = (
    disk: MemoryFileSystem,
    key: PublicJwk | null,
  ): Promise<readonly [string | null, readonly Named[]]> =>
    verifySample(disk, { key }).then((report) => [report.signature, report.findings.map(named)] as const);
  const wrong = (kind: Finding['kind']): readonly [string, readonly Named[]] => [
    'invalid',
    [{ code: 'SIGNATURE_INVALID', kind, path: '_manifest.jws', place: null }],
  ];

  it('holds with the key that made it', async () => {
    const disk = await sealedSample({ isSigned: true });
    expect(await signature(disk, null)).toEqual(['own-key', []]);
    expect(await signature(disk, sampleKey)).toEqual(['given-key', []]);
  });

  it('of another key, of another manifest, without a key, or gone, is refused', async () => {
    expect(await signature(await sealedSample({ isSigned: true }), other)).toEqual(wrong('altered'));
    expect(await signature(await sealedSample(), sampleKey)).toEqual(wrong('unsigned'));
    const changed = await sealedSample({ isSigned: true });
    edit(changed, '_manifest.json', (text) => text.replace('"name": "digits-1"', '"name": "digits-2"'));
    expect(await signature(changed, sampleKey)).toEqual(wrong('altered'));
    const gone = await sealedSample({ isSigned: true });
    await gone.remove('/out/_manifest.jws');
    expect(await signature(gone, null)).toEqual(wrong('missing'));
    const stray = await sealedSample({ isSigned: true });
    editManifest(stray, (manifest) => (manifest['signed_by'] = null));
    expect(await signature(stray, null)).toEqual(wrong('altered'));
    const swapped = await sealedSample({ isSigned: true });
    editManifest(swapped, (manifest) => ((manifest['signed_by'] as { jwk: PublicJwk }).jwk = other));
    expect(await signature(swapped, null)).toEqual(wrong('altered'));
  });

  it('goes when the same folder is sealed without a key', async () => {
    expect((await sealedSample({ isSigned: true })).paths()).toContain('/out/_manifest.jws');
    expect((await sealedSample()).paths()).not.toContain('/out/_manifest.jws');
  });
});

describe('sealing', () => {
  it('refuses rows that the disk has changed since they were committed, and says which', async () => {
    await expect(sealedSample({ flipBefore: 90 })).rejects.toThrow(
      failing('OUTPUT_CORRUPT', 'the first at bytes 81 to 137 (rows of input files 6 to 9)'),
    );
    await expect(sealedSample({ trailing: 'more\n' })).rejects.toThrow(
      failing('OUTPUT_CORRUPT', 'more than the 165 bytes'),
    );
  });

  it('of a job that failed keeps what was committed, cuts off the rest, and vouches for nothing that was changed', async () => {
    const cut = await sealedSample({ verdict: 'Failed', trailing: 'half a r' });
    expect(textOf(cut, 'predictions.csv.partial')).toHaveLength(165);
    const incomplete: Named = {
      code: 'OUTPUT_INCOMPLETE',
      kind: 'incomplete',
      path: '_manifest.json',
      place: 'verdict',
    };
    expect((await verifySample(cut)).findings.map(named)).toEqual([incomplete]);
    const flipped = await verifySample(await sealedSample({ verdict: 'Failed', flipBefore: 90 }));
    expect(flipped.findings.map(named)).toEqual([
      incomplete,
      corrupt('altered', 'predictions.csv.partial', 'bytes 81 to 137'),
    ]);
  });
});

it('tells the first findings one by one and counts the rest', async () => {
  const disk = await sealedSample();
  forgeLines(disk, lines0, (lines) => {
    const [line = {}] = lines;
    return Array.from({ length: limits.verifyFindingsMax + 5 }, () => ({ ...line, ordinal: 'x' }));
  });
  const report = await verifySample(disk);
  expect(report.findings).toHaveLength(limits.verifyFindingsMax);
  expect(report.findings_total).toBeGreaterThan(limits.verifyFindingsMax);
});
