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
        ("memcached://cache", "memcached://cache:11211"),
        ("memcached://10.0.0.1,10.0.0.2:7000,[::1]", "memcached://10.0.0.1:11211,10.0.0.2:7000,[::1]:11211"),
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
        "unix:///" + String(repeating: "x", count: 107), "rediss://host", "redis+sentinel://host", "mongodb://host",
        "memcached://", "memcached://,", "memcached://a,,b", "memcached://a,a", "memcached://a,a:11211", "memcached://a/",
        "memcached://a/1",
        "memcached://a?b=1", "memcached://a#b", "memcached://ann:secret@a", "memcached://@a", "memcached://a:0", "memcached://a b",
        "memcached://" + (0...16).map { "h\($0)" }.joined(separator: ","), "memcacheds://host",
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
        "rediss://ann:hunter2@host", "unix://ann:hunter2@host/x",
        "memcached://ann:hunter2@host", "memcached://host,ann:hunter2@host", "memcached://hunter2!", "memcached://host:hunter2",
    ])
    func noErrorRepeatsThePassword(_ text: String) {
        let error = #expect(throws: MirrorURI.Invalid.self) { try MirrorURI(text) }
        #expect(error?.description.contains("hunter2") == false)
    }

    @Test func noPrintingOrDumpingShowsThePassword() throws {
        let uri = try MirrorURI("redis://ann:hunter2@host")
        let address = try RedisAddress(uri: "redis://ann:hunter2@host")
        var dumped = ""
        dump(uri, to: &dumped)
        for text in [
            "\(uri)", String(reflecting: uri), String(describing: Optional(uri)), "\([uri])", dumped,
            "\(String(reflecting: address.password))",
        ] {
            #expect(!text.contains("hunter2"), "\(text)")
        }
    }
}

extension RedisAddress {
    /// That of a whole URI.
    init(uri: String) throws {
        guard case .redis(let address) = try MirrorURI(uri).store else { throw ServerFailure(description: "\(uri) is no redis") }
        self = address
    }
}
