import Testing

@testable import MeshMirrors

@Suite struct MirrorURITests {
    @Test(arguments: [
        ("redis://localhost", "redis://localhost:6379/0"),
        ("redis://localhost/", "redis://localhost:6379/0"),
        ("redis://10.0.0.1:7000/5", "redis://10.0.0.1:7000/5"),
        ("redis://[::1]:7000", "redis://[::1]:7000/0"),
        ("redis://[fe80::1%25eth0]", "redis://[fe80::1%25eth0]:6379/0"),
        ("redis://:secret@cache-1.example/1", "redis://:***@cache-1.example:6379/1"),
        ("redis://ann:secret@cache", "redis://ann:***@cache:6379/0"),
        ("redis://ann:se@cret@cache", "redis://ann:***@cache:6379/0"),
        ("unix:///run/redis/redis.sock", "unix:///run/redis/redis.sock?db=0"),
        ("unix:///run/a%20b.sock?db=12", "unix:///run/a b.sock?db=12"),
        ("unix://ann:secret@/run/redis.sock?db=1", "unix://ann:***@/run/redis.sock?db=1"),
        ("rediss://ann:secret@cache/1", "rediss://ann:***@cache:6379/1"),
        ("rediss://cache?ca=/a%20b.pem", "rediss://cache:6379/0?ca=/a b.pem"),
        ("rediss://cache/2?key=/k&cert=/c&ca=/a", "rediss://cache:6379/2?ca=/a&cert=/c&key=/k"),
        ("redis+sentinel://ann:secret@a,b:5000,[::1]/my%20master/3", "redis+sentinel://ann:***@a:26379,b:5000,[::1]:26379/my master/3"),
        ("rediss+sentinel://a/sessions?ca=/a", "rediss+sentinel://a:26379/sessions/0?ca=/a"),
        ("redis+cluster://:secret@a,b:7000", "redis+cluster://:***@a:6379,b:7000"),
        ("rediss+cluster://a/", "rediss+cluster://a:6379"),
        ("memcached://cache", "memcached://cache:11211"),
        ("memcached://10.0.0.1,10.0.0.2:7000,[::1]", "memcached://10.0.0.1:11211,10.0.0.2:7000,[::1]:11211"),
        ("mongodb://host", "mongodb://host:27017/sessionmesh"),
        ("mongodb://host/", "mongodb://host:27017/sessionmesh"),
        ("mongodb://ann:secret@a,b:27018,[::1]:1/web?replicaSet=rs0", "mongodb://ann:***@a:27017,b:27018,[::1]:1/web"),
        ("mongodb://ann:secret@host/?tls=true&tlsCertificateKeyFilePassword=secret", "mongodb://ann:***@host:27017/sessionmesh"),
        ("mongodb://CN%3Dann@host/?authMechanism=MONGODB-X509", "mongodb://CN=ann:***@host:27017/sessionmesh"),
        ("mongodb://%2Frun%2Fmongodb-27017.sock/web", "mongodb:///run/mongodb-27017.sock/web"),
        ("mongodb+srv://ann:secret@db.example/web", "mongodb+srv://ann:***@db.example/web"),
    ])
    func itIsReadAndPrintedWithoutThePassword(_ text: String, _ printed: String) throws {
        #expect(try MirrorURI(text).description == printed)
    }

    @Test func escapesAreTakenOut() throws {
        let address = try RedisAddress(uri: "redis://ann%3a:p%40%2f%25%C3%A9@cache")
        #expect(address.user == "ann:" && address.password?.text == "p@/%é")
    }

    @Test func sixteenServersOfMemcachedAreTakenInTheirOrder() throws {
        let servers = (1...16).map { "h\($0):\($0)" }
        #expect(
            try MirrorURI("memcached://" + servers.joined(separator: ",")).description == "memcached://" + servers.joined(separator: ","))
    }

    @Test(arguments: [
        "", "redis", "redis:", "redis://", "redis:///1", "redis://:6379", "redis://host:", "redis://host:0", "redis://host:65536",
        "redis://host:-1",
        "redis://host/x", "redis://host/-1", "redis://host/65536", "redis://host/1/2", "redis://host?db=1", "redis://host#1",
        "redis://ann@host", "redis://ann:@host",
        "redis://[::1", "redis://[::1]x", "redis://a b", "redis://hö", "redis://\u{0}", "unix://", "unix:///", "unix://run/redis.sock",
        "unix:///run/redis.sock?db=", "unix:///run/redis.sock?db=x", "unix:///run/redis.sock?database=1", "unix:///run/%zz",
        "unix:///run/%4",
        "unix:///" + String(repeating: "x", count: 107), "rediss://", "rediss://host?", "rediss://host?ca",
        "rediss://host?ca=", "rediss://host?ca=a.pem", "rediss://host?ca=/a&ca=/b", "rediss://host?cert=/a", "rediss://host?key=/a",
        "rediss://host?verify=no", "rediss://host?ca=/%zz", "rediss://host?ca=/\u{7}", "rediss://host#x", "redis://host?ca=/a",
        "rediss+unix:///s", "redis+sentinel://", "redis+sentinel://host", "redis+sentinel://host/", "redis+sentinel://host/name/x",
        "redis+sentinel://host,host:26379/name", "redis+sentinel://host,/name", "redis+sentinel://host/name?ca=/a",
        "redis+sentinel://" + (0...16).map { "h\($0)" }.joined(separator: ",") + "/name", "redis+cluster://", "redis+cluster://host/1",
        "redis+cluster://host,host", "redis+cluster://host?x=1", "redis+cluster://host:0",
        "memcached://", "memcached://,", "memcached://a,,b", "memcached://a,a", "memcached://a,a:11211", "memcached://a/",
        "memcached://a/1",
        "memcached://a?b=1", "memcached://a#b", "memcached://ann:secret@a", "memcached://@a", "memcached://a:0", "memcached://a b",
        "memcached://" + (0...16).map { "h\($0)" }.joined(separator: ","), "memcacheds://host",
        "mongodb://", "mongodb:///web", "mongodb://host?tls=true", "mongodb://host/?tls", "mongodb://host/?=1", "mongodb://host/?tls=",
        "mongodb://host/a/b", "mongodb://host/a.b", "mongodb://host/$a", "mongodb://host/\(String(repeating: "x", count: 64))",
        "mongodb://host,", "mongodb://host:0", "mongodb://:secret@host", "mongodb://@host", "mongodb://a b", "mongodb://host/#x",
        "mongodb://\(Array(repeating: "h", count: 51).joined(separator: ","))", "mongodb://%2Frun%2Fmongodb", "mongodb://host/we\u{7}b",
        "mongodb+srv://a,b", "mongodb+srv://a:1", "mongodb+srv://%2Frun%2Fmongodb.sock",
        "REDIS://host",
    ])
    func everythingElseIsRefusedInOneLine(_ text: String) {
        let error = #expect(throws: MirrorURI.Invalid.self) { try MirrorURI(text) }
        #expect(error?.description.hasPrefix("mirror URI: ") == true && error?.description.contains("\n") == false)
    }

    @Test(arguments: [
        "redis://ann:hunter2", "redis://ann:hunter2@", "redis://ann:hunter2@host:port", "redis://ann:hunter2@host/db",
        "redis://ann:hunter2/x@host",
        "redis://ann:x#hunter2@host", "redis://ann:%zzhunter2@host", "ann:hunter2@host", "hunter2://host", "ann:hunter2://host",
        "mongodb://ann:hunter2", "mongodb://ann:hunter2@", "mongodb://ann:hunter2/x@host", "mongodb://ann:hunter2?x@host",
        "mongodb://ann:x:hunter2@host", "mongodb://ann:x@hunter2@host", "mongodb://:hunter2@host", "mongodb://ann:hunter2@host:port",
        "mongodb://ann:%zzhunter2@host", "mongodb://host/?tlsCertificateKeyFilePassword=hunter2&x", "mongodb+srv://ann:hunter2@a,b",
        "rediss://ann:hunter2@host?x", "rediss://ann:?hunter2@host", "rediss://ann:hunter2/@host", "redis+sentinel://ann:hunter2@host",
        "redis+sentinel://ann:hunter2/x@host/name", "redis+cluster://ann:hunter2@host/1",
        "redis+cluster://ann:x,hunter2@host,host", "redis+cluster://ann:x?hunter2@host", "unix://ann:hunter2@host/x",
        "memcached://ann:hunter2@host", "memcached://host,ann:hunter2@host", "memcached://hunter2!", "memcached://host:hunter2",
    ])
    func noErrorRepeatsThePassword(_ text: String) {
        let error = #expect(throws: MirrorURI.Invalid.self) { try MirrorURI(text) }
        #expect(error?.description.contains("hunter2") == false)
    }

    @Test func noPrintingOrDumpingShowsThePassword() throws {
        let uris = try [
            "redis://ann:hunter2@host", "rediss://ann:hunter2@host?ca=/a", "redis+sentinel://ann:hunter2@host/name",
            "redis+cluster://ann:hunter2@host", "mongodb://ann:hunter2@host/?tlsCertificateKeyFilePassword=hunter2",
        ].map { try MirrorURI($0) }
        let address = try RedisAddress(uri: "redis://ann:hunter2@host")
        var dumped = ""
        dump(uris, to: &dumped)
        var texts = ["\(uris)", String(reflecting: uris), dumped, "\(String(reflecting: address.password))"]
        for uri in uris { texts += ["\(uri)", String(reflecting: uri), String(describing: Optional(uri))] }
        for text in texts { #expect(!text.contains("hunter2"), "\(text)") }
    }
}

extension RedisAddress {
    /// That of a whole URI.
    init(uri: String) throws {
        guard case .redis(let address) = try MirrorURI(uri).store else { throw ServerFailure(description: "\(uri) is no redis") }
        self = address
    }
}
