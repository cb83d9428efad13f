/**
 * Folders in the shapes of Azure's public examples come to what they mean, and each contradiction of the public record that
 * touches a YAML is decided one way.
 */
import { beforeEach, describe, expect, test } from 'vitest';
import { loadConfigFile } from '../../common/config/config-file.ts';
import { loadDeployment, type LoadOptions } from '../../common/config/deployment-file.ts';
import type { LocalDeployment } from '../../common/core/deployment.ts';
import { packageFile } from '../../common/io/package-files.ts';
import { matching } from '../helpers/matching.ts';

let notes: string[];
beforeEach(() => void (notes = []));

async function load(path: string, options: LoadOptions = {}): Promise<LocalDeployment> {
  const file = packageFile('test', 'fixtures', 'azure', path);
  return await loadDeployment(file, { isScriptUnchecked: true, onNote: (text) => notes.push(text), ...options });
}

const flow = 'heart-mlflow/deployment.yml';
const nested = 'mnist-torch/deployment.yml';

describe('folders', () => {
  test('the nested and the flat form of one deployment are the same', async () => {
    const [one, other] = [await load(nested), await load('mnist-torch/deployment-flat.yml')];
    expect(other).toEqual(one);
    expect(one.settings).toMatchObject({ instanceCountMax: 1, concurrencyPerInstanceMax: 2 });
  });

  test('an inline conda mapping, requirements beside it, a count of instances under settings', async () => {
    const { environment, settings } = await load('mnist-keras/deployment.yml');
    expect(environment).toMatchObject({ kind: 'conda', conda: { name: 'digits-keras-env' } });
    expect(environment.kind === 'conda' && environment.conda.yaml).toContain(
      '  - pip:\n      - tensorflow==2.15.1\n      - pandas>=1.5, <3\n      - pillow\n',
    );
    expect(settings).toMatchObject({
      instanceCountMax: 2,
      outputFileName: 'keras.csv',
      timeoutMs: 30_000,
      triesMax: 3,
    });
  });

  test('an MLflow model without a script', async () => {
    const deployment = await load(flow);
    expect(deployment.scorer).toEqual({ kind: 'mlflow', rowsPerPredict: null });
    expect(deployment.settings.outputFormat).toBe('azure');
    expect(deployment.environment).toMatchObject({ kind: 'conda', conda: { name: 'mlflow-env' } });
    expect(notes).toEqual([]);
  });

  test('a script of one’s own beside an MLflow model, for files of one’s own', async () => {
    const { scorer, settings } = await load('custom-output/deployment.yml');
    expect(scorer).toEqual({ kind: 'python', script: 'batch_driver.py' });
    expect(settings).toMatchObject({ outputAction: 'summary_only', outputFileName: '', customOutput: 'collected' });
  });

  test('numbers as environment variables, as they are typed', async () => {
    const { settings } = await load('text-csv/deployment.yml');
    expect(settings.environmentVariables).toEqual({ batch_size: '16', beam_width: '1.10', use_fp16: 'True' });
    expect(settings).toMatchObject({ triesMax: 1, timeoutMs: 3_000_000, loggingLevel: 'warning' });
  });

  test.each(['ERROR', 'Critical', 'warn'])(
    'logging_level %s, a free text there, is the highest level here',
    async (level) => {
      const { settings } = await load('text-csv/deployment.yml', { set: [`settings.logging_level=${level}`] });
      expect(settings.loggingLevel).toBe('warning');
    },
  );

  test('a conda file without a name; $NAMES stay as they are until --set', async () => {
    const key = 'OPENAI_API_BASE';
    const { settings, environment } = await load('completion/deployment.yml');
    expect(environment).toMatchObject({ kind: 'conda', conda: { name: 'completion-env' } });
    expect(settings.environmentVariables[key]).toBe('$OPENAI_API_BASE');
    const set = [`settings.environment_variables.${key}=https://example.org/`];
    expect((await load('completion/deployment.yml', { set })).settings.environmentVariables[key]).toBe(
      'https://example.org/',
    );
  });
});

test('what belongs to a deployment beside what scores', async () => {
  const path = packageFile('test', 'fixtures', 'azure', nested);
  expect(await loadConfigFile(path, { isScriptUnchecked: true })).toMatchObject({
    kind: 'deployment',
    name: 'digits-torch',
    endpointName: 'digits-batch',
    description: 'A small network that reads digits.',
    compute: 'batch-cluster',
  });
});

describe('what the record leaves open', () => {
  const set = (...values: readonly string[]): LoadOptions => ({ set: values });

  test('$schema decides nothing: the legacy one stands on a nested file', async () => {
    expect((await load('text-csv/deployment.yml')).settings.miniBatchSize).toEqual({ kind: 'files', files: 1 });
  });

  test('max_retries counts tries, at least one, three by default', async () => {
    const tries = async (value: string): Promise<number> =>
      (await load(nested, set(`settings.retry_settings.max_retries=${value}`))).settings.triesMax;
    expect([await tries('0'), await tries('1'), await tries('5'), await tries('')]).toEqual([1, 1, 5, 3]);
  });

  test('timeout is 30 s and a mini-batch 10 files by default', async () => {
    const { settings } = await load(nested, set('settings='));
    expect(settings).toMatchObject({
      timeoutMs: 30_000,
      miniBatchSize: { kind: 'files', files: 10 },
      errorThreshold: -1,
    });
  });

  test('error_threshold is a whole number, no share', async () => {
    await expect(load(nested, set('settings.error_threshold=10%'))).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    expect((await load(nested, set('settings.error_threshold="10"'))).settings.errorThreshold).toBe(10);
  });

  test('resources.instance_count wins over settings.instance_count', async () => {
    expect((await load(nested, set('settings.instance_count=9'))).settings.instanceCountMax).toBe(1);
  });

  test('the flat form takes instances from one place only', async () => {
    const flat = 'mnist-torch/deployment-flat.yml';
    expect((await load(flat)).settings.instanceCountMax).toBe(1);
    await expect(load(flat, set('instance_count=2'))).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: matching(/instance_count is given twice/),
    });
    expect((await load(flat, set('resources=', 'instance_count=2'))).settings.instanceCountMax).toBe(2);
  });

  test('summary_only with a file name is refused', async () => {
    await expect(load(nested, set('settings.output_action=summary_only'))).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });

  test('the type of a model decides, not the file MLmodel in it', async () => {
    await expect(load(flow, set('model.type=custom_model'))).rejects.toMatchObject({ code: 'DEPLOYMENT_INVALID' });
    expect((await load(flow, set('model.type='))).scorer.kind).toBe('mlflow');
  });

  test('sub-folders are explored and failing files isolated, unless the file says otherwise', async () => {
    expect((await load(nested)).settings).toMatchObject({ recursive: true, isolation: 'file' });
    const azure = set('settings.input.recursive=false', 'settings.isolation=mini_batch');
    expect((await load(nested, azure)).settings).toMatchObject({ recursive: false, isolation: 'mini_batch' });
  });

  test('with a conda file, the image is only where Azure runs it', async () => {
    expect((await load(nested)).environment.kind).toBe('conda');
    expect(notes).toEqual([expect.stringMatching(/^environment: .* is not used$/)]);
  });
});
