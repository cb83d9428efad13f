import { describe, expect, it } from 'vitest';
import { storeAccess } from '../../common/config/store-settings.ts';
import { parseLocation, type AzureLocation, type BucketLocation } from '../../common/core/location.ts';
import { storeError, storeProblem } from '../../common/storage/opendal-error.ts';
import { failing } from '../helpers/failing.ts';

type Variables = Readonly<Record<string, string>>;

function access(text: string, environment: Variables, vendor = ''): ReturnType<typeof storeAccess> {
  return storeAccess(parseLocation(text) as BucketLocation | AzureLocation, vendor, {
    HOME: '/nowhere',
    ...environment,
  });
}

const anonymous = { sas_token: 'timeout=60' };

describe('how a store is reached', () => {
  it('S3: keys, region and endpoint of the environment', () => {
    const { service, options, lookedAt } = access('s3://bucket/x', {
      AWS_ACCESS_KEY_ID: 'id',
      AWS_SECRET_ACCESS_KEY: 'hush',
      AWS_SESSION_TOKEN: 'session',
      AWS_DEFAULT_REGION: 'eu-west-1',
      AWS_ENDPOINT_URL: 'http://store:9000',
    });
    expect(service).toBe('s3');
    expect(options).toEqual({
      ...{ bucket: 'bucket', access_key_id: 'id', secret_access_key: 'hush', session_token: 'session' },
      ...{ region: 'eu-west-1', endpoint: 'http://store:9000', allow_anonymous: 'true', disable_ec2_metadata: 'true' },
    });
    expect(lookedAt).toContain('AWS_SECRET_ACCESS_KEY (set)');
    expect(lookedAt).toContain('AWS_PROFILE (not set)');
    expect(lookedAt).toContain('/nowhere/.aws/credentials (not there)');
    expect(lookedAt).not.toContain('hush');
  });

  it('asks a machine who it is only in its own cloud', () => {
    expect(access('s3://bucket', {}, 'Amazon EC2').options).not.toHaveProperty('disable_ec2_metadata');
    expect(access('s3://bucket', {}, 'Google').options).toHaveProperty('disable_ec2_metadata');
    expect(access('gs://bucket', {}, 'Google').options).not.toHaveProperty('disable_vm_metadata');
    expect(access('gs://bucket', {}, 'QEMU').options).toHaveProperty('disable_vm_metadata');
    const disabled = access('s3://bucket', { AWS_EC2_METADATA_DISABLED: 'true' }, 'Amazon EC2');
    expect(disabled.options).toHaveProperty('disable_ec2_metadata');
  });

  it('Google: a file of credentials, or an emulator', () => {
    const { options } = access('gs://bucket', {
      GOOGLE_APPLICATION_CREDENTIALS: '/key.json',
      STORAGE_EMULATOR_HOST: 'h:1',
    });
    expect(options).toMatchObject({ bucket: 'bucket', credential_path: '/key.json', endpoint: 'http://h:1' });
  });

  const key = { AZURE_STORAGE_ACCOUNT: 'mine', AZURE_STORAGE_KEY: 'a2V5' };
  const connection = {
    AZURE_STORAGE_CONNECTION_STRING: 'AccountName=mine;AccountKey=a2V5;BlobEndpoint=http://host:1/mine/',
  };

  it.each([
    ['az://con/x', key, 'https://mine.blob.core.windows.net', { account_key: 'a2V5' }],
    ['az://con/x', connection, 'http://host:1/mine', { account_key: 'a2V5' }],
    ['wasbs://con@mine.blob.core.windows.net/x', connection, 'http://host:1/mine', { account_key: 'a2V5' }],
    [
      'https://mine.blob.core.windows.net/con/x',
      connection,
      'https://mine.blob.core.windows.net',
      { account_key: 'a2V5' },
    ],
    [
      'az://con/x',
      { AZURE_STORAGE_ACCOUNT: 'mine', AZURE_STORAGE_SAS_TOKEN: '?sv=1&sig=x' },
      'https://mine.blob.core.windows.net',
      { sas_token: 'sv=1&sig=x' },
    ],
    [
      'az://con/x',
      {
        AZURE_STORAGE_CONNECTION_STRING:
          'AccountName=mine;EndpointSuffix=core.chinacloudapi.cn;SharedAccessSignature=sig=x',
      },
      'https://mine.blob.core.chinacloudapi.cn',
      { sas_token: 'sig=x' },
    ],
    ['az://con/x', { AZURE_STORAGE_ACCOUNT: 'mine' }, 'https://mine.blob.core.windows.net', anonymous],
    [
      'az://con/x',
      { ...key, AZURE_STORAGE_KEY: '', AZURE_STORAGE_AUTH_MODE: 'login' },
      'https://mine.blob.core.windows.net',
      {},
    ],
  ])('Azure: %s with %j', (text, environment, endpoint, credentials) => {
    const { options } = access(text, environment as Variables);
    expect(options).toEqual({ container: 'con', account_name: 'mine', endpoint, ...credentials });
  });

  it.each([
    'https://other.blob.core.windows.net/con/x',
    'abfss://con@other.dfs.core.windows.net/x',
    'http://evil.example/devstoreaccount1/con/x',
  ])('Azure: keys of one account do not go to %s', (text) => {
    const { options, lookedAt } = access(text, { ...key, AZURE_STORAGE_SAS_TOKEN: 'sig=x' });
    expect(options).toMatchObject(anonymous);
    expect(options).not.toHaveProperty('account_key');
    expect(lookedAt).toContain('they are of the account mine, this is ');
    const unnamed = access(text, { AZURE_STORAGE_KEY: 'a2V5' });
    expect(unnamed.options).toMatchObject(anonymous);
  });

  it('Azure: az:// needs an account', () => {
    expect(() => access('az://con/x', {})).toThrow(failing('LOCATION_INVALID', 'AZURE_STORAGE_ACCOUNT (not set)'));
  });
});

describe('what the client says', () => {
  it.each([
    ['NotFound (permanent) at stat, context: { response: Parts { status: 404 } } => x', 'absent'],
    ['ConfigInvalid (permanent) at list, context: { status: 404 } => S3Error { code: "NoSuchBucket" }', 'no-store'],
    ['NotFound (permanent) at list, context: { status: 404 } => AzblobError { code: "ContainerNotFound" }', 'no-store'],
    ['PermissionDenied (permanent) at list, context: { status: 403 } => x', 'denied'],
    ['Unexpected (temporary) at list, context: { called: reqsign::LoadCredential } => x', 'denied'],
    ['ConditionNotMatch (permanent) at read, context: { status: 412 } => x', 'changed'],
    ['Unexpected (permanent) at , context: { expect: 30, actual: 2 } => reader got too little data', 'short'],
    ['RateLimited (temporary) at list, context: { status: 429 } => x', 'passing'],
    ['Unexpected (temporary) at read, context: {} => send http request', 'passing'],
    ['Unexpected (persistent) at read, context: { status: 503 } => x', 'passing'],
    ['Unexpected (permanent) at list, context: { status: 301 } => S3Error { code: "PermanentRedirect" }', 'refused'],
    ['ConfigInvalid (permanent) at S3Builder::build, context: {} => region is missing', 'refused'],
  ])('%s', (text, trouble) => {
    expect(storeProblem(new Error(text))?.trouble).toBe(trouble);
  });

  it('is handed on without addresses, signatures and texts of the server', () => {
    const text =
      'Unexpected (temporary) at list, context: { url: https://a.blob.core.windows.net/c?comp=list&sig=SECRET } => send http ' +
      'request, source: error sending request for url (https://a.blob.core.windows.net/c?comp=list&sig=SECRET)';
    const denied =
      'PermissionDenied (permanent) at read, context: { uri: https://x/c?sig=SECRET, response: Parts { status: 403 } } => ' +
      'AzblobError { code: "AuthenticationFailed", message: "signed SECRET" }';
    for (const one of [text, denied]) {
      const problem = storeProblem(new Error(one));
      const error = problem && storeError(problem, 'az://c/', 'AZURE_STORAGE_KEY (set)');
      expect(JSON.stringify([problem, error, String(error), error?.cause])).not.toContain('SECRET');
      expect(problem?.reason).not.toBe('');
    }
    expect(storeProblem(new Error(denied))?.reason).toBe('it answered 403 AuthenticationFailed');
    expect(storeProblem(new Error('something of ours'))).toBeNull();
  });
});
