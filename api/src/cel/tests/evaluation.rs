//! Values of expressions.
use super::{declared, env, show};
use crate::cel::{Program, Val, compile};
use serde_json::json;

fn check(rows: &[(&str, &str)]) {
    let x = json!({
        "n": 3, "big": 9007199254740993i64, "f": 1.5, "s": "héllo", "l": [1, 2, 3], "m": {"a": 1, "b-c": 2},
        "o": {"p": null}, "e": [], "names": ["a", "b"],
    });
    let mut wrong = Vec::new();
    for (text, wanted) in rows {
        let got = show(text, &x);
        if got != *wanted {
            wrong.push(format!("{text}\n   gives {got}\n  wanted {wanted}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn operators_and_numbers() {
    check(&[
        ("1 + 2 * 3 - 4 / 2 % 3", "5"),
        ("-7 / 2", "-3"),
        ("-7 % 3", "-1"),
        ("1.5 + 2.0", "3.5"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("0u - 1u", "error: unsigned integer overflow"),
        ("-(-9223372036854775807 - 1)", "error: integer overflow"),
        ("1 / 0", "error: division by zero"),
        ("1 % 0", "error: modulus by zero"),
        ("1.0 / 0.0", "+Inf"),
        (
            "1 == 1.0 && 1u == 1",
            "compile: ERROR: <input>:1:3: found no matching overload for '_==_' applied to '(int, double)'\n | 1 == 1.0 && 1u == 1\n | ..^\nERROR: <input>:1:16: found no matching overload for '_==_' applied to '(uint, int)'\n | 1 == 1.0 && 1u == 1\n | ...............^",
        ),
        ("dyn(1) == 1.0 && dyn(1u) == 1", "true"),
        ("1 < 1.5 && 2u > 1 && 1u <= 1.0", "true"),
        ("x.big == 9007199254740993", "true"),
        ("x.big == 9007199254740992.0", "false"),
        ("x.n + 1", "4"),
        ("x.f + 1", "error: no such overload: _+_(double, int)"),
        ("x.s + 1", "error: no such overload: _+_(string, int)"),
        ("'a' < 'b' && b'a' < b'b' && false < true", "true"),
        ("true ? 1 : 2", "1"),
        ("1 in [1, 2] && !(3 in [1, 2]) && 'a' in x.m && !('z' in x.m)", "true"),
    ]);
}

#[test]
fn logic_absorbs_faults() {
    check(&[
        ("x.nope == 1 || true", "true"),
        ("true || x.nope == 1", "true"),
        ("x.nope == 1 && false", "false"),
        ("x.nope == 1 && true", "error: no such key: nope"),
        ("[1, 0].exists(i, 1 / i == 1)", "true"),
        ("[0, 1].exists(i, 1 / i == 1)", "true"),
        ("[0, 2].all(i, 1 / i == 1)", "false"),
        ("[0, 1].all(i, 1 / i == 1)", "error: division by zero"),
        ("x.n && true", "error: no such overload: _&&_(int, bool)"),
    ]);
}

#[test]
fn access() {
    check(&[
        ("x.m.a", "1"),
        ("x.m['b-c']", "2"),
        ("x.m.z", "error: no such key: z"),
        ("x.m['z']", "error: no such key: z"),
        ("x.l[0] + x.l[2]", "4"),
        ("x.l[3]", "error: index out of bounds: 3"),
        ("x.l[-1]", "error: index out of bounds: -1"),
        ("has(x.m.a) && !has(x.m.z)", "true"),
        ("has(x.n.a)", "error: no such overload: int.ref-resolve(*)"),
        ("has(x.o.p)", "true"),
        ("x.o.p == null", "true"),
        ("x.?m.?a.orValue(5)", "1"),
        ("x.?z.?a.orValue(5)", "5"),
        ("x.?z.a.orValue(5)", "5"),
        ("x.l[?7].hasValue()", "false"),
        ("x.m[?'a'].value()", "1"),
        ("optional.none().value()", "error: optional.none() dereference"),
        ("optional.of(1).or(optional.of(2)).value()", "1"),
        ("optional.none().or(optional.of(2)).value()", "2"),
        ("optional.ofNonZeroValue('').hasValue()", "false"),
        ("x.?n.optMap(v, v + 1).orValue(0)", "4"),
        ("x.?nope.optMap(v, v + 1).orValue(0)", "0"),
        ("[?x.?n, ?x.?nope]", "[3]"),
        ("{?'a': x.?n, ?'b': x.?nope}", r#"{"a":3}"#),
        ("{'a': 1, 'a': 2}", "error: Failed with repeated key: a"),
        ("size(x.s) + size(x.l) + size(x.m) + x.l.size()", "13"),
        ("type(x.n) == int && type('') == string && type(x.l) == list && type(type(1)) == type", "true"),
        ("x.m == {'b-c': 2, 'a': 1}", "true"),
        ("x.l == [1, 2, 3] && x.l != [1, 2]", "true"),
        ("dyn('a') == 1", "false"),
    ]);
}

#[test]
fn macros() {
    check(&[
        ("x.l.map(i, i * 2)", "[2,4,6]"),
        ("x.l.map(i, i > 1, i * 2)", "[4,6]"),
        ("x.l.filter(i, i % 2 == 1)", "[1,3]"),
        ("x.l.exists_one(i, i > 2) && !x.l.exists_one(i, i > 1)", "true"),
        ("x.m.all(k, k.size() > 0) && x.m.exists(k, k == 'a')", "true"),
        ("x.e.all(i, false) && !x.e.exists(i, true)", "true"),
        ("x.l.map(i, x.l.filter(j, j < i))", "[[],[1],[1,2]]"),
        ("cel.bind(v, x.n * 2, v + v)", "12"),
        ("x.l.all(i, v, v == i + 1)", "true"),
        ("x.m.exists(k, v, k == 'a' && v == 1)", "true"),
        ("x.l.transformList(i, v, i * v)", "[0,2,6]"),
        ("x.m.transformMap(k, v, v + 1)", r#"{"a":2,"b-c":3}"#),
        ("x.m.transformMap(k, v, v > 1, v + 1)", r#"{"b-c":3}"#),
        ("x.names.transformMapEntry(i, v, {v: i})", r#"{"a":0,"b":1}"#),
        ("x.n.all(i, true)", "error: got 'int', expected iterable type"),
        ("x.l.map(i, i + 1).map(i, i * i).filter(i, i > 4)", "[9,16]"),
    ]);
}

#[test]
fn texts() {
    check(&[
        ("'tacocat'.charAt(3)", r#""o""#),
        ("'a'.charAt(1)", r#""""#),
        ("'a'.charAt(2)", "error: index out of range: 2"),
        ("x.s.indexOf('l')", "2"),
        ("x.s.indexOf('l', 3)", "3"),
        ("x.s.lastIndexOf('l')", "3"),
        ("x.s.lastIndexOf('l', 2)", "2"),
        ("'aXb'.lowerAscii() + 'aXb'.upperAscii()", r#""axbAXB""#),
        ("'hello'.replace('l', 'L', 1) + 'hello'.replace('l', '')", r#""heLloheo""#),
        ("'a,b,c'.split(',')", r#"["a","b","c"]"#),
        ("'a,b,c'.split(',', 2)", r#"["a","b,c"]"#),
        ("'abc'.split('')", r#"["a","b","c"]"#),
        ("x.s.substring(1, 3)", r#""él""#),
        ("x.s.substring(4, 9)", "error: index out of range: 9"),
        ("'  a\\t'.trim()", r#""a""#),
        ("['a', 'b'].join('-') + x.names.join()", r#""a-bab""#),
        (
            "'%s is %d, %.2f, %x %X %b %o %%'.format(['a', 5, 1.005, 255, 'hi', 5, 8])",
            r#""a is 5, 1.00, ff 6869 101 10 %""#,
        ),
        ("'%s %s %s'.format([[1, 'a'], {'k': true}, 1.0])", r#""[1, a] {k: true} 1""#),
        (
            "'%d'.format(['a'])",
            "error: error during formatting: decimal clause can only be used on integers, was given string",
        ),
        ("'%e'.format([1234.5])", r#""1.234500e+03""#),
        ("strings.quote('a\"b')", r#""\"a\\\"b\"""#),
        ("'ab'.reverse()", r#""ba""#),
        ("'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c')", "true"),
        ("'abc123'.matches('^[a-z]+[0-9]+$') && matches('a', 'a')", "true"),
        ("'abc 123'.find('[0-9]+')", r#""123""#),
        ("'1 2 3'.findAll('[0-9]')", r#"["1","2","3"]"#),
        ("'1 2 3'.findAll('[0-9]', 2)", r#"["1","2"]"#),
        ("int('5') + int(2.9) + int(true ? 1u : 2u)", "8"),
        ("int('a')", "error: type conversion error from 'string' to 'int'"),
        ("string(1.0) + string(true) + string(b'a') + string(1e30)", r#""1truea1e+30""#),
        ("double('1.5') + double(1)", "2.5"),
        ("uint(-1)", "error: unsigned integer overflow"),
        ("bytes('a') == b'a'", "true"),
    ]);
}

#[test]
fn times() {
    check(&[
        ("timestamp('2026-01-02T03:04:05Z').getFullYear()", "2026"),
        ("timestamp('2026-01-02T03:04:05Z').getMonth()", "0"),
        ("timestamp('2026-01-02T03:04:05Z').getDate()", "2"),
        ("timestamp('2026-01-02T03:04:05Z').getDayOfWeek()", "5"),
        ("timestamp('2026-01-02T03:04:05Z').getHours('+02:00')", "5"),
        (
            "timestamp('2026-01-02T03:04:05Z') + duration('1h30m') == timestamp('2026-01-02T04:34:05Z')",
            "true",
        ),
        ("timestamp('2026-01-02T00:00:00Z') - timestamp('2026-01-01T00:00:00Z') == duration('24h')", "true"),
        ("duration('1h').getMinutes()", "60"),
        ("duration('1h2m3s4ms').getMilliseconds()", "3723004"),
        (
            "string(timestamp('2011-08-18T19:03:37.01+01:00') + duration('1h'))",
            r#""2011-08-18T20:03:37.01+01:00""#,
        ),
        ("timestamp('2011-08-18T19:03:37+01:00').getHours('UTC')", "18"),
        ("timestamp('2011-08-18T19:03:37+01:00') == timestamp('2011-08-18T18:03:37Z')", "true"),
        ("string(duration('1h1.5s'))", r#""3601.5s""#),
        ("string(timestamp('2026-01-02T03:04:05.120Z'))", r#""2026-01-02T03:04:05.12Z""#),
        ("duration(x.s)", "error: time: invalid duration \"héllo\""),
    ]);
}

#[test]
fn kubernetes_libraries() {
    check(&[
        ("[1, 2, 2].isSorted() && !['b', 'a'].isSorted()", "true"),
        ("[1, 2, 3].sum() + [4, 9].max() - [4, 9].min()", "11"),
        ("[].sum()", "0"),
        ("x.e.max()", "error: max called on empty list"),
        ("[1, 2, 1].indexOf(1) + [1, 2, 1].lastIndexOf(1)", "2"),
        ("[3, 1, 2].sort()", "[1,2,3]"),
        ("[1, 1, 2].distinct()", "[1,2]"),
        ("[[1], [2, 3]].flatten()", "[1,2,3]"),
        ("[1, 2, 3].slice(1, 3)", "[2,3]"),
        ("url('https://user@example.com:80/a%20b?k=v&k=w').getHost()", r#""example.com:80""#),
        ("url('https://example.com:80/a b').getEscapedPath()", r#""/a%20b""#),
        ("url('https://[::1]:80/').getHostname() + url('https://[::1]:80/').getPort()", r#""::180""#),
        ("url('https://e.com/?k=v&k=w').getQuery()", r#"{"k":["v","w"]}"#),
        ("url('https://e.com/a?k=b#c').getQuery()", r#"{"k":["b"]}"#),
        (
            "url('https://e.com/p?key with spaces=value with spaces').getQuery()",
            r#"{"key with spaces":["value with spaces"]}"#,
        ),
        ("isURL('https://u:p@e.com:80/p?q=v#f') && !isURL('https://a:b:c/') && !isURL('../p')", "true"),
        ("isURL('/path') && !isURL('path') && !isURL('http://a b/')", "true"),
        ("isIP('::1') && !isIP('::ffff:1.2.3.4') && !isIP('1.2.3') && ip('127.0.0.1').isLoopback()", "true"),
        (
            "ip('fe80::1').isLinkLocalUnicast() && ip('8.8.8.8').isGlobalUnicast() && ip('::1').family() == 6",
            "true",
        ),
        ("ip.isCanonical('::1') && !ip.isCanonical('0:0::1')", "true"),
        (
            "cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsIP(ip('11.0.0.1'))",
            "true",
        ),
        ("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.0.0.0/8').prefixLength() == 8", "true"),
        ("string(cidr('10.1.2.3/8').masked()) + string(cidr('10.1.2.3/8').ip())", r#""10.0.0.0/810.1.2.3""#),
        ("isCIDR('10.0.0.0/33')", "false"),
        (
            "quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('50k').add(20).compareTo(quantity('50020')) == 0",
            "true",
        ),
        ("quantity('1.5').isInteger() || quantity('200M').asInteger() != 200000000", "false"),
        ("isQuantity('1.3Zi')", "false"),
        ("quantity('50k').sub(quantity('1k')).asApproximateFloat()", "49000.0"),
        (
            "semver('1.2.3-rc.1').isLessThan(semver('1.2.3')) && semver('1.10.0').isGreaterThan(semver('1.9.0'))",
            "true",
        ),
        ("isSemver('1.0') || !isSemver('v1.0', true)", "false"),
        ("semver('v01.2', true).minor()", "2"),
        ("!format.dns1123Label().validate('a-b').hasValue()", "true"),
        ("format.named('dns1123Label').value().validate('A').value().size()", "1"),
        ("!format.named('nope').hasValue() && format.uuid().validate('x').hasValue()", "true"),
        ("sets.contains([1, 2], [2]) && sets.equivalent([1, 1], [1]) && !sets.intersects([1], [2])", "true"),
        ("jsonpatch.escapeKey('a/b~c')", r#""a~1b~0c""#),
        ("type(quantity('1')) == kubernetes.Quantity && type(ip('::1')) == net.IP", "true"),
    ]);
}

#[test]
fn values_are_what_their_schema_says() {
    let schema = json!({"type": "object", "properties": {
        "when": {"type": "string", "format": "date-time"},
        "day": {"type": "string", "format": "date"},
        "wait": {"type": "string", "format": "duration"},
        "data": {"type": "string", "format": "byte"},
        "ratio": {"type": "number"},
        "port": {"x-kubernetes-int-or-string": true},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}}},
        "namespace": {"type": "string"}, "a-b": {"type": "integer"}, "c.d__e": {"type": "integer"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "nothing": {"type": "string", "nullable": true},
        "waits": {"type": "array", "items": {"type": "string", "format": "duration"}},
        "holes": {"type": "object", "additionalProperties": {"type": "string", "nullable": true}},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true,
                     "x-kubernetes-preserve-unknown-fields": true},
    }});
    let object = json!({"when": "2026-01-02T03:04:05Z", "day": "2026-01-02", "wait": "5m", "data": "aGk=", "ratio": 2,
        "port": "80%", "set": ["a", "b"], "map": [{"k": "x", "v": 1}, {"k": "y", "v": 2}], "namespace": "n",
        "a-b": 1, "c.d__e": 2, "labels": {"app": "web"},
        "nothing": null, "waits": [], "holes": {"a": null},
        "template": {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}}});
    let decl = declared(&schema);
    for (text, wanted) in [
        ("self.when.getFullYear() == 2026 && self.day < self.when", "true"),
        ("self.wait > duration('4m') && self.data == b'hi' && self.ratio / 4.0 == 0.5", "true"),
        ("type(self.port) == string ? self.port == '80%' : self.port == 5", "true"),
        ("self.set == ['b', 'a']", "true"),
        ("self.set + ['a', 'c'] == ['a', 'b', 'c']", "true"),
        ("self.map.exists(e, e.k == 'y' && e.v == 2)", "true"),
        ("self.__namespace__ == 'n' && self.a__dash__b == 1 && self.c__dot__d__underscores__e == 2", "true"),
        ("'app' in self.labels && self.labels.app == 'web' && self.labels['app'] == 'web'", "true"),
        ("self.template.metadata.name + self.template.kind", "\"pPod\""),
        ("has(self.labels.other)", "false"),
        ("has(self.nothing)", "false"),
        ("self.waits.sum() == duration('0') && self.waits.isSorted()", "true"),
        ("type(self.holes['a']) == null_type && self.holes.size() == 1", "true"),
    ] {
        let program =
            Program::new(compile(&env(&schema), text).unwrap_or_else(|issues| panic!("{text}: {issues}")));
        let variables = [("self", Val::json(&object, &decl))];
        let (out, _) = program.evaluate(&variables, 1_000_000);
        let out = out.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(out.to_json().unwrap().to_string(), wanted, "{text}");
    }
}
