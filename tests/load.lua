-- The requests that wrk sends to the example service for tests/load.sh: valid ones, and those of a
-- scanner that makes up paths and methods. Counts every request under the series that it belongs to.
-- Sends nothing in the last seconds, so that every request gets its response.
local ffi = require("ffi")
ffi.cdef [[
    typedef struct { long seconds; long nanoseconds; } time;
    int clock_gettime(int clock, time *now);
]]
local now = ffi.new("time")

local function seconds()
    ffi.C.clock_gettime(1, now)
    return tonumber(now.seconds) + tonumber(now.nanoseconds) / 1e9
end

local made, last = {}, nil

function setup(thread)
    last = thread
end

function init(args)
    limit, lines, begun = tonumber(args[1]), "", false
    math.randomseed(os.time())
end

local function word()
    return string.format("%x%x", math.random(0, 2 ^ 31 - 1), math.random(0, 2 ^ 31 - 1))
end

local kinds = {
    function() return "GET", "/users/" .. math.random(0, 999), "", "GET", "/users/{id}", 200 end,
    function() return "GET", "/users/" .. math.random(1000, 99999), "", "GET", "/users/{id}", 404 end,
    function() return "GET", "/?" .. word(), "", "GET", "/", 200 end,
    function() return "POST", "/upload", word(), "POST", "/upload", 201 end,
    function() return "POST", "/upload", "", "POST", "/upload", 400 end,
    function() return "GET", "/" .. word() .. "/%2e%2e/" .. word(), "", "GET", "unmatched", 404 end,
    function() return "M" .. word(), "/" .. word(), "", "other", "unmatched", 404 end,
    function() return "M" .. word(), "/users/" .. word(), "", "other", "/users/{id}", 405 end,
}

function request()
    -- wrk generates one request in advance to inspect it; that request is not sent. It knows no made-up methods.
    local kind = begun and kinds[math.random(#kinds)] or kinds[1]
    local method, path, body, by, route, status = kind()
    local series = string.format('http_requests_total{method="%s",route="%s",status="%d"}', by, route, status)
    if begun then
        made[series] = (made[series] or 0) + 1
    end
    return wrk.format(method, path, nil, body)
end

-- Returns the milliseconds before the next request.
function delay()
    begun = begun or seconds()
    if seconds() - begun < limit then
        return 0
    end
    lines = ""
    for series, count in pairs(made) do
        lines = lines .. series .. " " .. count .. "\n"
    end
    return 3600000
end

function done(summary)
    local errors = summary.errors
    io.stderr:write(string.format("answered %d failed %d\n", summary.requests,
        errors.connect + errors.read + errors.write + errors.timeout))
    io.stderr:write(last:get("lines"))
end
