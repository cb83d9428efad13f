import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inputText, isInputText, locateInput } from '../../common/config/input-location.ts';
import { failing } from '../helpers/failing.ts';
import { TempFolder } from '../helpers/temp-folder.ts';

const table = `datastores:
  workspaceblobstore: https://acct.blob.core.windows.net/con/root
  lake: abfss://con@acct.dfs.core.windows.net
  here: inputs
  bucket: s3://bucket/
`;

let folder: TempFolder;

beforeEach(() => {
  folder = new TempFolder();
});

afterEach(() => folder.remove());

function withTable(text: string): { readonly dir: string; readonly environment: Record<string, string> } {
  folder.put({ 'batchmill.yml': text });
  return { dir: folder.path, environment: { HOME: folder.path } };
}

describe('the input of a job', () => {
  it('makes paths absolute and locations canonical', () => {
    expect(inputText('in/x', '/home/me')).toBe('/home/me/in/x');
    expect(inputText('file:///data/a%20b', '/home/me')).toBe('/data/a b');
    expect(inputText(' S3://bucket/a ', '/home/me')).toBe('s3://bucket/a');
    expect(inputText('azureml://datastores/x/paths/y', '/home/me')).toBe('azureml://datastores/x/paths/y');
  });

  it.each([
    ['azureml://datastores/workspaceblobstore/paths/a b/', 'https://acct.blob.core.windows.net/con/root/a%20b/'],
    ['azureml://datastores/WorkspaceBlobStore/paths/', 'https://acct.blob.core.windows.net/con/root'],
    ['azureml://datastores/lake/paths/x/y.csv', 'abfss://con@acct.dfs.core.windows.net/x/y.csv'],
    ['azureml://datastores/bucket/paths/x', 's3://bucket/x'],
    [
      'azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/lake/paths/x',
      'abfss://con@acct.dfs.core.windows.net/x',
    ],
    [
      'azureml:/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w/datastores/lake/paths/x',
      'abfss://con@acct.dfs.core.windows.net/x',
    ],
  ])('finds %s in the table', async (text, wanted) => {
    const { dir, environment } = withTable(table);
    await expect(locateInput(text, dir, environment)).resolves.toBe(wanted);
  });

  it('takes paths of the table from its own folder, and the file that BATCHMILL_CONFIG names', async () => {
    const { dir, environment } = withTable(table);
    const elsewhere = { ...environment, BATCHMILL_CONFIG: join(dir, 'batchmill.yml') };
    await expect(locateInput('azureml://datastores/here/paths/a', '/', elsewhere)).resolves.toBe(join(dir, 'inputs/a'));
    await expect(locateInput('azureml://datastores/here/paths/a', dir, environment)).resolves.toBe(
      join(dir, 'inputs/a'),
    );
  });

  it.each([
    ['azureml://datastores/bukket/paths/x', 'did you mean bucket?'],
    ['azureml://datastores/other/paths/x', 'it has bucket, here, lake, workspaceblobstore'],
    ['azureml://datastores/here/paths/../x', 'no ".." in it'],
    ['azureml://datastores/here/paths/x?sig=SECRET', 'the location azureml://datastores/here/paths/x?…'],
    ['azureml:heart-data@stable', 'latest is the only label'],
    ['azureml:', 'is not a reference'],
  ])('refuses %s', async (text, why) => {
    const { dir, environment } = withTable(table);
    await expect(locateInput(text, dir, environment)).rejects.toThrow(failing('LOCATION_INVALID', why));
  });

  it('asks the registry for data assets and datastores first', async () => {
    const { dir, environment } = withTable(table);
    const registered = {
      data: (name: string, version: string | null) => `azureml://datastores/here/paths/${name}-${version ?? 'latest'}`,
      datastore: (name: string) => (name.toLowerCase() === 'lake' ? '/lake' : null),
    };
    const located = async (text: string) => await locateInput(text, dir, environment, registered);
    await expect(located('azureml:heart@latest')).resolves.toBe(join(dir, 'inputs/heart-latest'));
    await expect(located('azureml:heart:3')).resolves.toBe(join(dir, 'inputs/heart-3'));
    await expect(located('azureml://datastores/Lake/paths/a/b')).resolves.toBe('/lake/a/b');
    await expect(locateInput('azureml:heart:3', dir, environment)).rejects.toThrow(
      failing('RESOURCE_NOT_FOUND', 'there is no data heart:3'),
    );
  });

  it('says where the table would be', async () => {
    const dir = folder.path;
    const asked = locateInput('azureml://datastores/x/paths/y', dir, { HOME: dir });
    await expect(asked).rejects.toThrow(failing('LOCATION_INVALID', `${dir}/batchmill.yml (there is no table)`));
    const lost = locateInput('azureml://datastores/x/paths/y', dir, { BATCHMILL_CONFIG: '/nowhere.yml' });
    await expect(lost).rejects.toThrow(failing('CONFIG_INVALID', 'which BATCHMILL_CONFIG names'));
  });

  it.each([
    ['datastore: {}', 'CONFIG_UNKNOWN_KEY', 'did you mean datastores?'],
    ['datastores:\n  a: 1', 'CONFIG_INVALID', 'batchmill.yml:2:6: datastores.a: wanted a location'],
    ['datastores:\n  a: s3a://x', 'LOCATION_INVALID', 'batchmill.yml:2:6: the location s3a://x: did you mean s3://?'],
    ['datastores:\n  a: https://acct.blob.core.windows.net/c?sig=SECRET', 'LOCATION_INVALID', 'may be a credential'],
  ] as const)('tells a mistake in the table: %s', async (text, code, why) => {
    const { dir, environment } = withTable(text);
    const asked = locateInput('azureml://datastores/a/paths/y', dir, environment);
    await expect(asked).rejects.toThrow(failing(code, why));
    await expect(asked).rejects.not.toThrow('SECRET');
  });

  it('takes nothing relative from a request', () => {
    const texts = ['/data', 's3://b/k', 'azureml://datastores/x/paths/y', 'data', './x', '/a\0'];
    expect(texts.map(isInputText)).toEqual([true, true, true, false, false, false]);
  });
});
