import MeshCore
import Testing

@Suite struct CookieReaderTests {
    static func values(_ field: String, _ name: String) -> [String] {
        let bytes = Array(field.utf8)
        return bytes.withUnsafeBytes { raw in
            var reader = CookieReader(raw, 0..<raw.count)
            var values: [String] = []
            while let range = reader.next(named: Array(name.utf8)) { values.append(String(decoding: raw[range], as: UTF8.self)) }
            return values
        }
    }

    @Test(arguments: [
        ("sid=a", ["a"]), ("theme=dark; sid=a", ["a"]), ("sid=a; sid=b", ["a", "b"]), ("sid=\"a\"", ["a"]), ("sid=", [""]),
        ("xsid=a; sidx=b", []),
        ("sid", []), ("", []), (";;; sid=a ;", ["a"]), ("sid=a=b", ["a=b"]), ("SID=a", []), ("a=sid=b", []), ("sid=\"", ["\""]),
    ])
    func valuesOfAName(_ field: String, _ expected: [String]) {
        #expect(Self.values(field, "sid") == expected)
    }
}
