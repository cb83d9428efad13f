/**
 * How a store is reached: endpoint and credentials, from the variables and files that each cloud’s own tools use. What comes out
 * of here holds secrets; it is handed to the store’s client and to nothing else.
 * @source the environment variables of the AWS CLI and SDKs, the Azure CLI and the Google Cloud client libraries
 */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { BatchError } from '../core/batch-error.ts';
import type { AzureLocation, BucketLocation } from '../core/location.ts';
import type { Environment } from './process-settings.ts';

export interface StoreAccess {
  readonly service: 's3' | 'gcs' | 'azblob';
  /** In the words of the client library. With secrets. */
  readonly options: Readonly<Record<string, string>>;
  /** Where credentials were looked for and whether they were there, for a message; without their values. */
  readonly lookedAt: string;
}

/** `vendor`: who made this machine, as the system tells it; only on its own machines is a cloud asked for their identity. */
export function storeAccess(
  location: BucketLocation | AzureLocation,
  vendor: string,
  environment: Environment = process.env,
): StoreAccess {
  if (location.kind === 'azure') return azureAccess(location, environment);
  return location.kind === 's3'
    ? s3Access(location.bucket, vendor, environment)
    : gcsAccess(location.bucket, vendor, environment);
}

function s3Access(bucket: string, vendor: string, environment: Environment): StoreAccess {
  const value = (name: string): string => environment[name] || '';
  const files = value('AWS_SHARED_CREDENTIALS_FILE') || join(homeOf(environment), '.aws', 'credentials');
  const isOnEc2 = /amazon/i.test(vendor) && value('AWS_EC2_METADATA_DISABLED').toLowerCase() !== 'true';
  return {
    service: 's3',
    options: {
      bucket,
      ...given('endpoint', value('AWS_ENDPOINT_URL_S3') || value('AWS_ENDPOINT_URL')),
      ...given('region', value('AWS_REGION') || value('AWS_DEFAULT_REGION') || (existsSync(files) ? '' : 'us-east-1')),
      ...given('access_key_id', value('AWS_ACCESS_KEY_ID')),
      ...given('secret_access_key', value('AWS_SECRET_ACCESS_KEY')),
      ...given('session_token', value('AWS_SESSION_TOKEN')),
      // Public buckets need none.
      allow_anonymous: 'true',
      ...(isOnEc2 ? {} : { disable_ec2_metadata: 'true' }),
    },
    lookedAt: [
      ...['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'AWS_PROFILE'].map(told(environment)),
      `${files} (${existsSync(files) ? 'there' : 'not there'})`,
      ...['AWS_REGION', 'AWS_ENDPOINT_URL'].map(told(environment)),
    ].join(', '),
  };
}

function gcsAccess(bucket: string, vendor: string, environment: Environment): StoreAccess {
  const file = environment['GOOGLE_APPLICATION_CREDENTIALS'] || '';
  const own = join(homeOf(environment), '.config', 'gcloud', 'application_default_credentials.json');
  const emulator = environment['STORAGE_EMULATOR_HOST'] || '';
  const endpoint = emulator === '' || emulator.includes('://') ? emulator : `http://${emulator}`;
  return {
    service: 'gcs',
    options: {
      bucket,
      ...given('endpoint', endpoint),
      ...given('credential_path', file),
      allow_anonymous: 'true',
      ...(/google/i.test(vendor) ? {} : { disable_vm_metadata: 'true' }),
    },
    lookedAt: [
      told(environment)('GOOGLE_APPLICATION_CREDENTIALS'),
      `${own} (${existsSync(own) ? 'there' : 'not there'})`,
      told(environment)('STORAGE_EMULATOR_HOST'),
    ].join(', '),
  };
}

/**
 * Keys and tokens of the environment are for the account that it names, and go to no other: whoever submits a job chooses the
 * address. @throws LOCATION_INVALID for `az://` without an account
 */
function azureAccess(location: AzureLocation, environment: Environment): StoreAccess {
  const known = azureEnvironment(environment);
  const account = location.account ?? known.account;
  const variables = [
    'AZURE_STORAGE_CONNECTION_STRING',
    'AZURE_STORAGE_ACCOUNT',
    'AZURE_STORAGE_KEY',
    'AZURE_STORAGE_SAS_TOKEN',
  ];
  const lookedAt = [...variables, 'AZURE_STORAGE_AUTH_MODE'].map(told(environment)).join(', ');
  if (account === '') {
    throw new BatchError(
      'LOCATION_INVALID',
      `the location az://${location.container}/${location.key} leaves the account to the environment, which names none (${lookedAt}); ` +
        'set AZURE_STORAGE_ACCOUNT, or give https://ACCOUNT.blob.core.windows.net/CONTAINER/PATH',
    );
  }
  const isOwn = account === known.account;
  // An address that was written out is the one that is meant; a name stands for what the environment says of it.
  const isSpelt = location.scheme === 'http' || location.scheme === 'https';
  const named = isOwn && known.endpoint !== '' ? known.endpoint : `https://${account}.blob.core.windows.net`;
  const endpoint = isSpelt ? location.endpoint : isOwn && known.endpoint !== '' ? known.endpoint : location.endpoint;
  const credentials = isOwn ? known.credentials : {};
  const isLogin = environment['AZURE_STORAGE_AUTH_MODE'] === 'login';
  const other = isOwn || known.account === '' ? '' : `; they are of the account ${known.account}, this is ${account}`;
  return {
    service: 'azblob',
    options: {
      container: location.container,
      endpoint: endpoint ?? named,
      account_name: account,
      ...(Object.keys(credentials).length > 0 || isLogin ? credentials : anonymous),
    },
    lookedAt: `${lookedAt}${other}`,
  };
}

/** The client wants a credential; a parameter that any request may have is one that says nothing. @source Azure Storage REST, `timeout` */
const anonymous = { sas_token: 'timeout=60' };

interface AzureEnvironment {
  /** Empty for none. */
  readonly account: string;
  readonly endpoint: string;
  readonly credentials: Readonly<Record<string, string>>;
}

/** The account, key and blobs of Azurite and of the storage emulator before it: the same everywhere, and no secret. */
const development =
  'AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;' +
  'BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1';

function azureEnvironment(environment: Environment): AzureEnvironment {
  const value = (name: string): string => environment[name] || '';
  const text = value('AZURE_STORAGE_CONNECTION_STRING');
  const parts = connectionParts(/UseDevelopmentStorage=true/i.test(text) ? development : text);
  const part = (name: string): string => parts.get(name.toLowerCase()) ?? '';
  const account = part('AccountName') || value('AZURE_STORAGE_ACCOUNT') || value('AZURE_STORAGE_ACCOUNT_NAME');
  const suffix = part('EndpointSuffix');
  const protocol = part('DefaultEndpointsProtocol') || 'https';
  const endpoint =
    part('BlobEndpoint') ||
    value('AZURE_STORAGE_SERVICE_ENDPOINT') ||
    (suffix !== '' && account !== '' ? `${protocol}://${account}.blob.${suffix}` : '');
  const key = part('AccountKey') || value('AZURE_STORAGE_KEY') || value('AZURE_STORAGE_ACCOUNT_KEY');
  const sas = (part('SharedAccessSignature') || value('AZURE_STORAGE_SAS_TOKEN')).replace(/^\?/, '');
  const credentials = key !== '' ? { account_key: key } : given('sas_token', sas);
  return { account, endpoint: endpoint.replace(/\/+$/, ''), credentials };
}

function connectionParts(text: string): ReadonlyMap<string, string> {
  const parts = new Map<string, string>();
  for (const piece of text.split(';')) {
    const at = piece.indexOf('=');
    if (at > 0) parts.set(piece.slice(0, at).trim().toLowerCase(), piece.slice(at + 1).trim());
  }
  return parts;
}

function given(name: string, value: string): Readonly<Record<string, string>> {
  return value === '' ? {} : { [name]: value };
}

const told =
  (environment: Environment) =>
  (name: string): string =>
    `${name} (${environment[name] ? 'set' : 'not set'})`;

function homeOf(environment: Environment): string {
  return environment['HOME'] || homedir();
}
