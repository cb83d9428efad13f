import { describe, expect, it } from 'vitest';
import { below, locationText, parseLocation, type StoreLocation } from '../../common/core/location.ts';
import { failing } from '../helpers/failing.ts';

describe('locations', () => {
  it.each([
    ['/data/in', { kind: 'local', path: '/data/in' }],
    ['data/in', { kind: 'local', path: 'data/in' }],
    ['file:///data/with%20space', { kind: 'local', path: '/data/with space' }],
    ['s3://bucket/a/b?c', { kind: 's3', bucket: 'bucket', key: 'a/b?c' }],
    ['S3://bucket', { kind: 's3', bucket: 'bucket', key: '' }],
    ['gs://my.bucket_1/a/', { kind: 'gs', bucket: 'my.bucket_1', key: 'a/' }],
    ['az://con/x', { kind: 'azure', scheme: 'az', account: null, endpoint: null, container: 'con', key: 'x' }],
  ])('reads %s', (text, wanted) => {
    expect(parseLocation(text)).toEqual(wanted);
  });

  it.each([
    ['abfss://con@acct.dfs.core.windows.net/a b', 'abfss', 'https://acct.blob.core.windows.net', 'a b'],
    ['wasbs://con@acct.blob.core.windows.net/a', 'wasbs', 'https://acct.blob.core.windows.net', 'a'],
    ['wasb://con@acct.blob.core.usgovcloudapi.net/', 'wasb', 'http://acct.blob.core.usgovcloudapi.net', ''],
    ['https://acct.blob.core.windows.net/con/a%20b/%25', 'https', 'https://acct.blob.core.windows.net', 'a b/%'],
    ['https://acct.dfs.core.windows.net/con/a', 'abfss', 'https://acct.blob.core.windows.net', 'a'],
  ])('reads %s as a blob', (text, scheme, endpoint, key) => {
    const wanted = { kind: 'azure', scheme, account: 'acct', endpoint, container: 'con', key };
    expect(parseLocation(text)).toEqual(wanted);
  });

  it('reads Azurite’s path style', () => {
    const found = parseLocation('http://127.0.0.1:10000/devstoreaccount1/con/a/b');
    const endpoint = 'http://127.0.0.1:10000/devstoreaccount1';
    const wanted = {
      kind: 'azure',
      scheme: 'http',
      account: 'devstoreaccount1',
      endpoint,
      container: 'con',
      key: 'a/b',
    };
    expect(found).toEqual(wanted);
  });

  it.each([
    '/data/in',
    's3://bucket/a/b?c',
    'gs://bucket/ü/',
    'az://con/x y',
    'abfss://con@acct.dfs.core.windows.net/a b',
    'wasb://con@acct.blob.core.usgovcloudapi.net/',
    'https://acct.blob.core.windows.net/con/a%20b/%25',
    'http://127.0.0.1:10000/devstoreaccount1/con/a/b',
    'https://example.org/folder/',
    'http://example.org:8080/one%20file.csv',
  ])('writes %s as it was', (text) => {
    expect(locationText(parseLocation(text))).toBe(text);
  });

  it.each([
    ['s3://bucket/in', 'a/b#?.txt', 's3://bucket/in/a/b#?.txt'],
    ['az://con', 'a', 'az://con/a'],
    ['https://example.org/in', 'a b#?%.txt', 'https://example.org/in/a%20b%23%3F%25.txt'],
    ['https://acct.blob.core.windows.net/con/in/', 'ü', 'https://acct.blob.core.windows.net/con/in/%C3%BC'],
  ])('goes below %s', (text, path, wanted) => {
    expect(locationText(below(parseLocation(text) as StoreLocation, path))).toBe(wanted);
  });

  it.each([
    ['s3a://bucket/x', 'did you mean s3://?'],
    ['gcs://bucket/x', 'did you mean gs://?'],
    ['s3:/bucket/x', 'did you mean s3://? It takes two slashes'],
    ['hdfs://name/x', 'hdfs:// is not known; wanted s3://BUCKET/KEY'],
    ['s3://', 'wanted s3://BUCKET/KEY'],
    ['az://Upper/x', 'containers have small letters only'],
    ['abfss://con/x', 'az://CONTAINER/PATH takes the account from the environment'],
    ['abfss://con@acct/x', 'wanted abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH'],
    ['s3://bucket/a//b', 'two slashes in a row'],
    ['s3://bucket/a/../b', '"." or ".." as a name'],
    ['https://example.org/a#b', 'write %23'],
    ['https://example.org/%zz', 'write %25'],
    ['https://', 'it is no URL'],
    ['file://host/x', 'wanted file:///ABSOLUTE/PATH'],
  ])('refuses %s', (text, why) => {
    expect(() => parseLocation(text)).toThrow(failing('LOCATION_INVALID', why));
  });

  it.each([
    'https://acct.blob.core.windows.net/con/x?sv=1&sig=SECRET',
    'wasbs://con@acct.blob.core.windows.net/x?sig=SECRET',
    's3://bucket/key?X-Amz-Signature=SECRET',
    'az://con/x?sig=SECRET',
    'https://user:SECRET@example.org/x',
    'https://SECRET@example.org/x',
    'https://user:SECRET/SECRET@example.org/x',
    's3://key:SECRET@bucket/x',
    'ftp://user:SECRET@example.org/x?y=SECRET',
  ])('refuses %s without repeating the secret', (text) => {
    let message = '';
    try {
      parseLocation(text);
    } catch (error) {
      message = String(error);
    }
    expect(message).toMatch(/^BatchError: the location /);
    expect(message).not.toContain('SECRET');
  });
});
